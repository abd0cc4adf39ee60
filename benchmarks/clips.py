"""Clips to measure with: a textured scene with moving blocks, encoded once into a folder of the caller's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def make_clip(
    path: Path,
    frames: int,
    size: tuple[int, int] = (640, 360),
    codec: str = "libx264",
    fps: int = 25,
    period: int = 250,
) -> Path:
    """Write a clip of ``size`` (width, height) that repeats after ``period`` frames, unless it is there already."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    loop = [_image(t, size) for t in range(min(frames, period))]
    temporary = path.with_suffix(".part" + path.suffix)
    with av.open(str(temporary), "w") as container:
        options = {"crf": "23", "preset": "veryfast"}
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = Fraction(1, fps)
        for t in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(loop[t % len(loop)], format="bgr24")))
        container.mux(stream.encode())
    temporary.rename(path)
    return path


def _image(t: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Frame t: a fixed texture, ten blocks that cross it at different speeds, a little sensor noise."""
    width, height = size
    image = np.kron(
        np.random.default_rng(0).integers(60, 190, (height // 8 + 1, width // 8 + 1, 3)), np.ones((8, 8, 1), dtype=int)
    )[:height, :width]
    for i in range(10):
        x, y = (i * 97 + t * (i % 5 + 1)) % width, (i * 61) % max(height - height // 6, 1)
        image[y : y + height // 6, x : x + width // 20] = (20 * i, 255 - 20 * i, 128)
    noise = np.random.default_rng(t).integers(-3, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
