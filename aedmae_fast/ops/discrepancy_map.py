"""discrepancy_map: the teacher's error and the teacher-student gap at every pixel, two of the terms of Eq. 6.

    error = |x - x^|^p      gap = |x^ - x~|^p      p = 1 (L1) or 2 (L2), reduced over the 4 channels

x is the frame as ``(pixels - 127.5) / 127.5`` with a 4th channel of -1: the anomaly map of a normal frame. So a pixel
that the teacher paints as abnormal counts as an error.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

NORMAL = -1.0  # the anomaly map of a normal frame, in the units of normalised pixels


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
    target = patchify(frames.float().sub_(127.5).div_(127.5), patch)  # [B, L, d*d, 3]
    predicted = teacher.float().unflatten(2, (-1, 4))  # [B, L, d*d, 4]
    distilled = student.float().unflatten(2, (-1, 4))
    colour = _distance(target, predicted[..., :3], error).sum(-1)
    abnormal = _distance(torch.tensor(NORMAL, device=frames.device), predicted[..., 3], error)
    gap = _distance(predicted, distilled, error).sum(-1)  # [B, L, d*d]
    share = 1.0 if channels == "sum" else 0.25
    error_map = unpatchify((colour + abnormal) * share, (h, w), patch)  # [B, H, W, 1]
    gap_map = unpatchify(gap * share, (h, w), patch)
    return error_map[..., 0], gap_map[..., 0]


def patchify(image: Tensor, patch: int) -> Tensor:
    """[B, H, W, C] -> [B, L, patch*patch, C], rows first among the patches and within each."""
    b, h, w, c = image.shape
    return image.reshape(b, h // patch, patch, w // patch, patch, c).transpose(2, 3).reshape(b, -1, patch * patch, c)


def unpatchify(tokens: Tensor, size: tuple[int, int], patch: int) -> Tensor:
    """[B, L, patch*patch*C] -> [B, H, W, C], the inverse."""
    h, w = size
    channels = tokens.shape[2] // patch**2
    x = tokens.reshape(len(tokens), h // patch, w // patch, patch, patch, channels)
    return x.transpose(2, 3).reshape(-1, h, w, channels)


def _distance(a: Tensor, b: Tensor, error: str) -> Tensor:
    return (a - b).abs() if error == "L1" else (a - b).square()
