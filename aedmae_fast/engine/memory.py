"""Frames that are in memory already, behind the same seam as a video."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aedmae_fast.engine.feed import BLOCK
from aedmae_fast.video import Chunk, Outcome, Status, VideoInfo


class FramesInMemory:
    """A clip given as one array. Implements :class:`aedmae_fast.video.Video`."""

    def __init__(self, frames: NDArray[np.uint8] | Tensor, fps: float, order: str) -> None:
        check_fps(fps)
        self._frames, self._order = checked(frames, order, "[T, H, W, 3]"), order
        count, height, width, _ = self._frames.shape
        self._fps = fps
        self.info = VideoInfo(Path("<memory>"), width, height, fps, count, "raw", "auto")

    def __iter__(self) -> Iterator[Chunk]:
        for first in range(0, len(self._frames), BLOCK):
            frames = in_bgr(self._frames[first : first + BLOCK], self._order)  # not all at once: that is a copy
            yield Chunk(first, tuple((first + i) / self._fps for i in range(len(frames))), (frames,))

    @property
    def outcome(self) -> Outcome:
        return Outcome(Status.OK, "") if len(self._frames) else Outcome(Status.TOO_SHORT, "no frames")

    def close(self) -> None:
        pass


def check_fps(fps: float) -> None:
    """Raises ValueError where ``fps`` is no rate: cameras say 0 that do not know theirs."""
    if not 0 < fps < math.inf:
        raise ValueError(f"fps: expected frames per second, more than 0, found {fps}; 25 if it is not known")


def checked(frames: NDArray[np.uint8] | Tensor, order: str, shape: str) -> Tensor:
    """Raises TypeError or ValueError where these are no uint8 frames of a shape such as ``[T, H, W, 3]``, or ``order``
    is none; else the frames as they are, on the host.
    """
    if isinstance(frames, np.ndarray) and any(stride < 0 for stride in frames.strides):
        frames = np.ascontiguousarray(frames)  # a view such as frame[..., ::-1], which PyTorch cannot take
    tensor = _as_tensor(frames)
    if tensor.dtype != torch.uint8:
        raise TypeError(f"frames: expected uint8, found {tensor.dtype}")
    if tensor.ndim != shape.count(",") + 1 or tensor.shape[-1] != 3 or 0 in tensor.shape[-3:]:
        raise ValueError(f"frames: expected {shape}, found {tuple(tensor.shape)}")
    if order not in ("bgr", "rgb"):
        raise ValueError(f"order: expected 'bgr' or 'rgb', found {order!r}")
    return tensor.cpu()


def _as_tensor(frames: NDArray[np.uint8] | Tensor) -> Tensor:
    if not isinstance(frames, np.ndarray) or frames.flags.writeable:
        return torch.as_tensor(frames)
    with warnings.catch_warnings():  # of writing to what is read-only: nobody does
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.as_tensor(frames)


def in_bgr(frames: Tensor, order: str) -> Tensor:
    """Frames [..., 3] that were :func:`checked`, with their channels in BGR order."""
    return frames if order == "bgr" else frames.flip(-1)
