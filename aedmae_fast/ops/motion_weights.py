"""motion_weights: token weights of consecutive frames in one pass, the motion gradient never stored.

motion_weights(frames, d) = patch_weights(motion_gradient(frames), d)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.motion_gradient import SPANS, check_frames, motion_gradient_reference
from aedmae_fast.ops.parameters import check_patches, check_row, rows_contiguous
from aedmae_fast.ops.patch_weights import patch_weights_reference
from aedmae_fast.ops.triton import cuda_or_triton, with_triton

__all__ = ["motion_weights"]


def motion_weights(frames: Tensor, patch: int, kind: Literal["paper", "release"] = "release") -> Tensor:
    """Token weights (Eq. 1 and 2) of consecutive frames.

    Args:
        frames: uint8 [T, H, W, C], consecutive frames of one clip, whole from its first to its last; H and W are
            multiples of ``patch``, they and C not 0; frames and rows may be strided.
        patch: side of the patches in pixels.
        kind: which neighbours are compared, see :mod:`aedmae_fast.ops.motion_gradient`.

    Returns:
        float32 [T, L], L = H/patch * W/patch, rows first; each row sums to 1.

    Raises:
        TypeError: ``frames`` is not uint8.
        ValueError: shapes that do not fit, an unknown ``kind``, or (CUDA) rows of more than 48 KiB, or more rows of
            patches than a grid takes (65 535 at least).
    """
    return torch.ops.aedmae.motion_weights(frames, patch, kind)


def motion_weights_reference(frames: Tensor, patch: int, kind: str = "release") -> Tensor:
    """:func:`motion_weights` in plain PyTorch: the executable specification."""
    return patch_weights_reference(motion_gradient_reference(frames, kind), patch)


def _check(frames: Tensor, patch: int, kind: str = "release") -> None:
    check_frames(frames, kind)
    check_patches("frames", frames, patch, "T, H, W, C")


def _fake(frames: Tensor, patch: int, kind: str = "release") -> Tensor:
    t, h, w, _ = frames.shape
    return frames.new_empty((t, h // patch * (w // patch)), dtype=torch.float32)


def _cpu(frames: Tensor, patch: int, kind: str = "release") -> Tensor:
    out, frames = _fake(frames, patch), rows_contiguous(frames)
    native.cpu().motion_weights(
        frames.data_ptr(), frames.stride()[:2], tuple(frames.shape), SPANS[kind], patch, out.data_ptr()
    )
    return out


def write_cuda(kernel: Callable[..., None], frames: Tensor, patch: int, kind: str, out: Tensor, stream: int) -> Tensor:
    """Fills ``out`` [T, L] by the CUDA kernel; ``frames`` are contiguous, and the arguments have been checked."""
    kernel(frames.data_ptr(), tuple(frames.shape), SPANS[kind], patch, out.data_ptr(), stream)
    return out


_triton = with_triton("motion_weights", motion_weights_reference)


def _cuda(frames: Tensor, patch: int, kind: Literal["paper", "release"] = "release") -> Tensor:
    module = native.cuda()
    if module is None:
        return _triton(frames, patch, kind)
    check_row("frames", frames, None, module.MAX_ROW_BYTES)
    with torch.cuda.device(frames.device):
        out = _fake(frames, patch, kind)
        stream = torch.cuda.current_stream().cuda_stream
        return write_cuda(module.motion_weights, frames.contiguous(), patch, kind, out, stream)


register(
    'motion_weights(Tensor frames, int patch, str kind="release") -> Tensor',
    check=_check,
    cpu=_cpu,
    cuda=_cuda,
    fake=_fake,
    backends=cuda_or_triton,
    of_integers=True,
)
