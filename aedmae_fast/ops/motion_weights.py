"""motion_weights: token weights of consecutive frames in one pass, the motion gradient never stored.

motion_weights(frames, d) = patch_weights(motion_gradient(frames), d)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from aedmae_fast.ops.library import register
from aedmae_fast.ops.motion_gradient import motion_gradient
from aedmae_fast.ops.patch_weights import patch_weights
from aedmae_fast.ops.triton import triton_backend, with_triton

__all__ = ["motion_weights"]


def motion_weights(frames: Tensor, patch: int, kind: Literal["paper", "release"] = "release") -> Tensor:
    """Token weights (Eq. 1 and 2) of consecutive frames.

    Args:
        frames: uint8 [T, H, W, C], consecutive frames of one clip, whole from its first to its last; H and W are
            multiples of ``patch``.
        patch: side of the patches in pixels.
        kind: which neighbours are compared, see :mod:`aedmae_fast.ops.motion_gradient`.

    Returns:
        float32 [T, L], L = H/patch * W/patch, rows first; each row sums to 1.

    Raises:
        TypeError: ``frames`` is not uint8.
        ValueError: shapes that do not fit, or an unknown ``kind``.
    """
    _check(frames, patch, kind)
    return torch.ops.aedmae.motion_weights(frames, patch, kind)


def motion_weights_reference(frames: Tensor, patch: int, kind: Literal["paper", "release"] = "release") -> Tensor:
    """:func:`motion_weights` in plain PyTorch: the executable specification."""
    return patch_weights(motion_gradient(frames, kind), patch)


def _check(frames: Tensor, patch: int, kind: str) -> None:
    if frames.dtype != torch.uint8:
        raise TypeError(f"frames: expected uint8, found {frames.dtype}")
    if frames.ndim != 4 or patch < 1 or frames.shape[1] % patch or frames.shape[2] % patch:
        raise ValueError(f"frames: expected [T, H, W, C] in whole patches of {patch}, found {tuple(frames.shape)}")
    if kind not in ("paper", "release"):
        raise ValueError(f"kind: expected 'paper' or 'release', found {kind!r}")


def _fake(frames: Tensor, patch: int, kind: str = "release") -> Tensor:
    t, h, w, _ = frames.shape
    return frames.new_empty((t, h // patch * (w // patch)), dtype=torch.float32)


register(
    'motion_weights(Tensor frames, int patch, str kind="release") -> Tensor',
    cpu=motion_weights_reference,
    cuda=with_triton("motion_weights", motion_weights_reference),
    fake=_fake,
    backends=lambda: {"cpu": "PyTorch", "cuda": triton_backend()},
)
