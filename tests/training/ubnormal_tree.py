"""A small tree in UBnormal's published layout."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image

NAMES = "abnormal_training_video_names.txt"
NAME = "abnormal_scene_3_scenario_2"
H, W, FRAMES = 48, 80, 24


def make_tree(root: Path) -> None:
    """One video in which object 2 moves by 2 pixels a frame; object 1 is there without a track."""
    folder = root / "Scene3"
    annotations = folder / f"{NAME}_annotations"
    annotations.mkdir(parents=True)
    (root / "scripts").mkdir()
    (root / "scripts" / NAMES).write_text(f"{NAME}\n")
    (annotations / f"{NAME}_tracks.txt").write_text("2,4,19\n")
    with av.open(str(folder / f"{NAME}.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"qscale:v": "2"})
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for t in range(FRAMES):
            image, objects = np.full((H, W, 3), 80, np.uint8), np.zeros((H, W), np.uint8)
            image[16:32, 8 + 2 * t : 20 + 2 * t] = 230
            objects[16:32, 8 + 2 * t : 20 + 2 * t] = 2
            objects[:6, :6] = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            if 4 <= t <= 19:
                Image.fromarray(objects).save(annotations / f"{NAME}_{t:04}_gt.png")
        container.mux(stream.encode())
