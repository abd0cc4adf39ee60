"""discrepancy_map: the teacher's error and the teacher-student gap at every pixel, two of the terms of Eq. 6.

    error = |x - x^|^p      gap = |x^ - x~|^p      p = 1 (L1) or 2 (L2), reduced over the 4 channels

x is the frame as ``(pixels - 127.5) / 127.5`` with a 4th channel of -1: the anomaly map of a normal frame. So a pixel
that the teacher paints as abnormal counts as an error.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def discrepancy_map(
    teacher: Tensor,
    student: Tensor,
    frames: Tensor,
    patch: int,
    error: Literal["L1", "L2"] = "L2",
    channels: Literal["sum", "mean"] = "sum",
) -> tuple[Tensor, Tensor]:
    """Per-pixel teacher error and teacher-student gap.

    Args:
        teacher: float [B, L, 4*patch*patch], predictions, a token's values ordered (row, column, channel).
        student: float [B, L, 4*patch*patch].
        frames: uint8 [B, H, W, 3] BGR, the frames predicted.
        patch: side of the patches in pixels.
        error: L1 or squared (L2) difference.
        channels: how the 4 channels are reduced.

    Returns:
        Two float32 [B, H, W], in units of the normalised pixels (a full swing from black to white is 2).

    Raises:
        TypeError: ``frames`` is not uint8, or the predictions are not floating point.
        ValueError: shapes that do not fit.
    """
    if frames.dtype != torch.uint8:
        raise TypeError(f"frames: expected uint8, found {frames.dtype}")
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.shape[1] % patch or frames.shape[2] % patch:
        raise ValueError(f"frames: expected [B, H, W, 3] in whole patches of {patch}, found {tuple(frames.shape)}")
    b, h, w, _ = frames.shape
    expected = (b, h // patch * (w // patch), 4 * patch * patch)
    for name, prediction in (("teacher", teacher), ("student", student)):
        if not prediction.is_floating_point():
            raise TypeError(f"{name}: expected floating point, found {prediction.dtype}")
        if prediction.shape != expected:
            raise ValueError(f"{name}: expected {expected}, found {tuple(prediction.shape)}")
    predicted = unpatchify(teacher.float(), (h, w), patch)  # [B, H, W, 4]
    distilled = unpatchify(student.float(), (h, w), patch)
    target = torch.cat([(frames.float() - 127.5) / 127.5, frames.new_full((b, h, w, 1), -1, dtype=torch.float32)], -1)
    return _distance(target, predicted, error, channels), _distance(predicted, distilled, error, channels)


def unpatchify(tokens: Tensor, size: tuple[int, int], patch: int) -> Tensor:
    """[B, L, patch*patch*C], ordered (row, column, channel) -> [B, H, W, C]."""
    h, w = size
    x = tokens.reshape(len(tokens), h // patch, w // patch, patch, patch, -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(len(tokens), h, w, -1)


def _distance(a: Tensor, b: Tensor, error: str, channels: str) -> Tensor:
    difference = (a - b).abs() if error == "L1" else (a - b).square()
    return difference.sum(-1) if channels == "sum" else difference.mean(-1)
