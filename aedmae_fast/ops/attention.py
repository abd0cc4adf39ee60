"""attention: softmax(scale * q k^T) v, without the matrix of scores in memory.

The network's scale is that of the full width, ``C**-0.5``, not the head's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.parameters import check_parameters, check_states
from aedmae_fast.ops.threads import on_threads
from aedmae_fast.ops.triton import cpp_or_triton, with_triton

__all__ = ["attention"]


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention of every head, heads side by side in the result.

    Differentiable, once, in ``q``, ``k`` and ``v``: a second derivative is a NotImplementedError.

    Args:
        q, k, v: float32 or bfloat16 [B, heads, N, D], of any strides; fastest contiguous in the last dimension. N >= 1.
        scale: factor of the scores.

    Returns:
        [B, N, heads * D] in the dtype of ``q``. Sums and the softmax are in float32 or better.

    Raises:
        TypeError: dtypes differ, or are neither float32 nor bfloat16.
        ValueError: shapes or devices that do not fit each other.
    """
    return torch.ops.aedmae.attention(q, k, v, scale)


def attention_reference(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """:func:`attention` in plain PyTorch: the executable specification."""
    weights = (q @ k.transpose(2, 3) * scale).softmax(dim=-1)  # [B, heads, N, N]
    return (weights @ v).transpose(1, 2).flatten(2)  # [B, N, heads*D]


def attention_gradient_reference(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, grad: Tensor, scale: float
) -> tuple[Tensor, ...]:
    """Of q, k and v, [B, N, heads, D], in plain PyTorch: the executable specification. ``out`` is not needed for it."""
    weights = (q @ k.transpose(2, 3) * scale).softmax(dim=-1)  # P: [B, heads, N, N]
    grad = grad.unflatten(2, (q.shape[1], q.shape[3])).transpose(1, 2)  # [B, heads, N, D]
    along = grad @ v.transpose(2, 3)
    scores = weights * (along - (along * weights).sum(dim=-1, keepdim=True)) * scale
    gradients = scores @ k, scores.transpose(2, 3) @ q, weights.transpose(2, 3) @ grad
    return tuple(x.transpose(1, 2).contiguous() for x in gradients)


def _check(q: Tensor, k: Tensor, v: Tensor, scale: float) -> None:
    check_states("q", q)
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dtype != q.dtype:
            raise TypeError(f"{name}: expected {q.dtype} as q, found {x.dtype}")
        if x.ndim != 4 or x.shape[2] < 1:
            raise ValueError(f"{name}: expected [B, heads, N, D] with N >= 1, found {tuple(x.shape)}")
        if x.shape != q.shape or x.device != q.device:
            raise ValueError(f"{name}: expected {tuple(q.shape)} on {q.device}, found {tuple(x.shape)} on {x.device}")


def _check_gradient(q: Tensor, k: Tensor, v: Tensor, out: Tensor, grad: Tensor, scale: float) -> None:
    _check(q, k, v, scale)
    b, heads, n, d = q.shape
    check_parameters("q", q, [("out", out, (b, n, heads * d)), ("grad", grad, (b, n, heads * d))])


def _fake(q: Tensor, *_: object) -> Tensor:
    b, heads, n, d = q.shape
    return q.new_empty((b, n, heads * d))


def _cpu(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    out = _fake(q)

    def some(frames: slice) -> None:
        qkv = _operands(q[frames], k[frames], v[frames])
        native.cpu().attention(*qkv, out[frames].data_ptr(), q[frames].shape, scale)

    q, k, v = map(_rows, (q, k, v))
    on_threads(some, len(q))
    return out


def _gradient_cpu(q: Tensor, k: Tensor, v: Tensor, out: Tensor, grad: Tensor, scale: float) -> tuple[Tensor, ...]:
    gradients = _gradient_fake(q, k, v)

    def some(frames: slice) -> None:
        qkv = _operands(q[frames], k[frames], v[frames])
        to = [x[frames].data_ptr() for x in gradients]
        native.cpu().attention_gradient(
            *qkv, out[frames].data_ptr(), grad[frames].data_ptr(), to, q[frames].shape, scale
        )

    q, k, v, out, grad = *map(_rows, (q, k, v)), out.contiguous(), grad.contiguous()
    on_threads(some, len(q))
    return gradients


def _rows(x: Tensor) -> Tensor:
    return x if x.stride(3) == 1 else x.contiguous()


def _operands(q: Tensor, k: Tensor, v: Tensor) -> tuple[bool, list[int], list[Any]]:
    """As the C++ kernels take them: whether they are bfloat16, addresses, strides."""
    qkv = q, k, v
    return q.dtype == torch.bfloat16, [x.data_ptr() for x in qkv], [x.stride()[:3] for x in qkv]


def _gradient_fake(q: Tensor, k: Tensor, v: Tensor, *_: object) -> tuple[Tensor, ...]:
    b, heads, n, d = q.shape
    return tuple(x.new_empty((b, n, heads, d)) for x in (q, k, v))


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: Tensor) -> None:
    *qkv, ctx.scale = inputs
    ctx.save_for_backward(*qkv, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    dq, dk, dv = torch.ops.aedmae.attention_gradient(*ctx.saved_tensors, grad, ctx.scale)
    return dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2), None


register(
    "attention(Tensor q, Tensor k, Tensor v, float scale) -> Tensor",
    check=_check,
    cpu=_cpu,
    cuda=with_triton("attention", attention_reference),
    fake=_fake,
    backends=cpp_or_triton,
    gradient=_backward,
    save=_save,
)
register(  # of q, k and v, [B, N, heads, D]; out is attention's result, [B, N, heads * D], and grad its gradient
    "attention_gradient(Tensor q, Tensor k, Tensor v, Tensor out, Tensor grad, float scale)"
    " -> (Tensor, Tensor, Tensor)",
    check=_check_gradient,
    cpu=_gradient_cpu,
    cuda=attention_gradient_reference,
    fake=_gradient_fake,
    backends=lambda: {"cpu": native.cpu_backend(), "cuda": "PyTorch"},
)
