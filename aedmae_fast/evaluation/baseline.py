"""The score that every figure has to beat: how much the most changed block differs from the frame before. Untrained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aedmae_fast.config import Gaussian
from aedmae_fast.engine.postprocess import Series, smooth
from aedmae_fast.video import Chunk, open_video

__all__ = ["BLOCK", "SMOOTH", "difference_maps", "frame_difference"]

BLOCK = 12  # pixels a side, at the video's own size: about a person's width in UCSD Ped2
SMOOTH = Gaussian(taps=41, sigma=5)
LUMA = (0.114, 0.587, 0.299)  # of B, G, R (BT.601), for sources without a luma plane


def frame_difference(
    path: str | Path,
    smoothing: Gaussian | None = SMOOTH,
    on_map: Callable[[int, NDArray[np.float32]], None] | None = None,
) -> Series:
    """Score of each frame of a video: the maximum of its :func:`difference_maps`, then a Gaussian in time.

    Args:
        on_map: called with each frame's index and map, as they come; the Gaussian does not enter the maps.

    Returns:
        float64 [T] in [0, 1]; empty for a video without frames.

    Raises:
        VideoError: the video cannot be opened.
    """
    raw: list[float] = []
    for frame, values in enumerate(difference_maps(path)):
        raw.append(float(values.max()))
        if on_map:
            on_map(frame, values.numpy())
    series = np.array(raw, dtype=np.float64)
    return smooth(series, smoothing) if smoothing else series


def difference_maps(path: str | Path) -> Iterator[Tensor]:
    """Mean over blocks of ``|x_t - x_{t-1}| / 255`` for each frame t: float32 [h, w] in [0, 1], one after the other.

    x is the luma plane at native size H x W, cut evenly into h = round(H / 12) by w = round(W / 12) blocks. The first
    frame has no predecessor and takes the second's map; a clip of one frame gets zeros, and so does a frame whose
    predecessor has another size. Two frames are kept, however long the video.
    """
    video = open_video(path)
    previous: Tensor | None = None
    seen, grid = 0, (1, 1)
    try:
        for frame in (frame for chunk in video for frame in _luma(chunk)):
            if previous is None:
                grid = (max(round(frame.shape[0] / BLOCK), 1), max(round(frame.shape[1] / BLOCK), 1))
            else:
                values = _block_means(frame, previous, grid)
                if seen == 1:
                    yield values  # for the first frame
                yield values
            previous = frame
            seen += 1
        if seen == 1:
            yield torch.zeros(grid)
    finally:
        video.close()


def _luma(chunk: Chunk) -> Tensor:
    """float32 [T, H, W] in 0..255."""
    first = chunk.planes[0].float()
    return first if first.ndim == 3 else first @ torch.tensor(LUMA)


def _block_means(frame: Tensor, previous: Tensor, grid: tuple[int, int]) -> Tensor:
    if frame.shape != previous.shape:
        return torch.zeros(grid)
    return F.adaptive_avg_pool2d((frame - previous).abs()[None], grid)[0] / 255
