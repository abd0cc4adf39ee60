"""Small videos and folders of frames, for trees in the layouts of the data sets."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (24, 36)  # height, width of every frame


def moving_square(frames: int, start: int = 0) -> list[NDArray[np.uint8]]:
    """Grey frames in which a bright square of 6 x 6 pixels moves right by 2 pixels a frame from frame ``start`` on."""
    images = []
    for t in range(frames):
        image = np.full(SIZE, 60, np.uint8)
        left = 2 * max(t - start, 0) % (SIZE[1] - 6)
        image[9:15, left : left + 6] = 220
        images.append(image)
    return images


def write_frames(folder: Path, frames: int, suffix: str = ".png", start: int = 0) -> None:
    folder.mkdir(parents=True)
    for t, image in enumerate(moving_square(frames, start), start=1):
        Image.fromarray(image).save(folder / f"{t:03}{suffix}")


def write_video(path: Path, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for image in moving_square(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())


def write_mask(path: Path, value: int, box: tuple[int, int, int, int] | None) -> None:
    """An image of zeros, with ``value`` within (top, left, bottom, right)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask(value, box)).save(path)


def mask(value: int, box: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    image = np.zeros(SIZE, np.uint8)
    if box:
        image[box[0] : box[2], box[1] : box[3]] = value
    return image
