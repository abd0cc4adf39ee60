"""motion_gradient: where a frame moves, as the absolute difference of its neighbours.

    paper   (Eq. 1)   g_t = |x_t - x_{t-1}|
    release           g_t = |x_{t-1} - x_{t+1}|

A neighbour that does not exist is frame t itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.parameters import rows_contiguous
from aedmae_fast.ops.triton import cuda_or_triton, with_triton

__all__ = ["motion_gradient"]

SPANS = {"paper": 1, "release": 2}  # frames between those that are compared


def motion_gradient(frames: Tensor, kind: Literal["paper", "release"] = "release") -> Tensor:
    """Motion-gradient maps of consecutive frames.

    Args:
        frames: uint8 [T, H, W, C], consecutive frames of one clip, whole from its first to its last, with pixels;
            frames and rows may be strided.
        kind: which neighbours are compared, see above.

    Returns:
        uint8 [T, H, W, C], contiguous. The release computes it at native resolution and then resizes it bilinearly.

    Raises:
        TypeError: ``frames`` is not uint8.
        ValueError: ``frames`` has not four dimensions or no pixels, or ``kind`` is unknown.
    """
    return torch.ops.aedmae.motion_gradient(frames, kind)


def motion_gradient_reference(frames: Tensor, kind: str = "release") -> Tensor:
    """:func:`motion_gradient` in plain PyTorch: the executable specification."""
    before = torch.cat([frames[:1], frames[:-1]])
    after = torch.cat([frames[1:], frames[-1:]]) if kind == "release" else frames
    return torch.maximum(before, after) - torch.minimum(before, after)


def check_frames(frames: Tensor, kind: str = "release") -> None:
    """What :func:`motion_gradient` raises."""
    if frames.dtype != torch.uint8:
        raise TypeError(f"frames: expected uint8, found {frames.dtype}")
    if frames.ndim != 4 or 0 in frames.shape[1:]:
        raise ValueError(f"frames: expected [T, H, W, C] with pixels, found {tuple(frames.shape)}")
    if kind not in SPANS:
        raise ValueError(f"kind: expected 'paper' or 'release', found {kind!r}")


def _fake(frames: Tensor, kind: str = "release") -> Tensor:
    return torch.empty_like(frames, memory_format=torch.contiguous_format)


def _cpu(frames: Tensor, kind: str = "release") -> Tensor:
    out, frames = _fake(frames), rows_contiguous(frames)
    native.cpu().motion_gradient(
        frames.data_ptr(), frames.stride()[:2], tuple(frames.shape), SPANS[kind], out.data_ptr()
    )
    return out


def write_cuda(kernel: Callable[..., None], frames: Tensor, kind: str, out: Tensor, stream: int) -> Tensor:
    """Fills ``out`` by the CUDA kernel; ``frames`` are contiguous, and the arguments have been checked."""
    kernel(frames.data_ptr(), tuple(frames.shape), SPANS[kind], out.data_ptr(), stream)
    return out


_triton = with_triton("motion_gradient", motion_gradient_reference, "motion_weights")


def _cuda(frames: Tensor, kind: str = "release") -> Tensor:
    module = native.cuda()
    if module is None:
        return _triton(frames, kind)
    with torch.cuda.device(frames.device):
        stream = torch.cuda.current_stream().cuda_stream
        return write_cuda(module.motion_gradient, frames.contiguous(), kind, _fake(frames), stream)


register(
    'motion_gradient(Tensor frames, str kind="release") -> Tensor',
    check=check_frames,
    cpu=_cpu,
    cuda=_cuda,
    fake=_fake,
    backends=cuda_or_triton,
    of_integers=True,
)
