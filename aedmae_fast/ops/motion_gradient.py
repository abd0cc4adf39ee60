"""motion_gradient: where a frame moves, as the absolute difference of its neighbours.

    paper   (Eq. 1)   g_t = |x_t - x_{t-1}|
    release           g_t = |x_{t-1} - x_{t+1}|

A neighbour that does not exist is frame t itself.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def motion_gradient(frames: Tensor, kind: Literal["paper", "release"] = "release") -> Tensor:
    """Motion-gradient maps of consecutive frames.

    Args:
        frames: uint8 [T, H, W, C], consecutive frames of one clip, whole from its first to its last.
        kind: which neighbours are compared, see above.

    Returns:
        uint8 [T, H, W, C]. The release computes it at native resolution and then resizes it bilinearly.

    Raises:
        TypeError: ``frames`` is not uint8.
        ValueError: ``frames`` has not four dimensions, or ``kind`` is unknown.
    """
    if frames.dtype != torch.uint8:
        raise TypeError(f"frames: expected uint8, found {frames.dtype}")
    if frames.ndim != 4:
        raise ValueError(f"frames: expected [T, H, W, C], found {tuple(frames.shape)}")
    if kind not in ("paper", "release"):
        raise ValueError(f"kind: expected 'paper' or 'release', found {kind!r}")
    before = torch.cat([frames[:1], frames[:-1]])
    after = torch.cat([frames[1:], frames[-1:]]) if kind == "release" else frames
    return torch.maximum(before, after) - torch.minimum(before, after)
