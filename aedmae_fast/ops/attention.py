"""attention: softmax(scale * q k^T) v, without the matrix of scores in memory.

The network's scale is that of the full width, ``C**-0.5``, not the head's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.triton import triton_backend, with_triton

__all__ = ["attention"]


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention of every head, heads side by side in the result.

    Args:
        q, k, v: float32 or bfloat16 [B, heads, N, D], of any strides; fastest contiguous in the last dimension. N >= 1.
        scale: factor of the scores.

    Returns:
        [B, N, heads * D] in the dtype of ``q``. Sums and the softmax are in float32 or better.

    Raises:
        TypeError: dtypes differ, or are neither float32 nor bfloat16.
        ValueError: shapes or devices that do not fit each other.
    """
    _check(q, k, v)
    return torch.ops.aedmae.attention(q, k, v, scale)


def attention_reference(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """:func:`attention` in plain PyTorch: the executable specification."""
    weights = (q @ k.transpose(2, 3) * scale).softmax(dim=-1)  # [B, heads, N, N]
    return (weights @ v).transpose(1, 2).flatten(2)  # [B, N, heads*D]


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if q.dtype not in native.DTYPES:
            raise TypeError(f"{name}: expected float32 or bfloat16, found {x.dtype}")
        if x.dtype != q.dtype:
            raise TypeError(f"{name}: expected {q.dtype} as q, found {x.dtype}")
        if x.ndim != 4 or x.shape[2] < 1:
            raise ValueError(f"{name}: expected [B, heads, N, D] with N >= 1, found {tuple(x.shape)}")
        if x.shape != q.shape or x.device != q.device:
            raise ValueError(f"{name}: expected {tuple(q.shape)} on {q.device}, found {tuple(x.shape)} on {x.device}")


def _fake(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    b, heads, n, d = q.shape
    return q.new_empty((b, n, heads * d))


def _cpu(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    out = _fake(q, k, v, scale)
    rows = [x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v)]
    native.cpu().attention(
        q.dtype == torch.bfloat16,
        [x.data_ptr() for x in rows],
        [x.stride()[:3] for x in rows],
        out.data_ptr(),
        q.shape,
        scale,
    )
    return out


register(
    "attention(Tensor q, Tensor k, Tensor v, float scale) -> Tensor",
    cpu=_cpu,
    cuda=with_triton("attention", attention_reference),
    fake=_fake,
    backends=lambda: {"cpu": native.cpu_backend(), "cuda": triton_backend()},
)
