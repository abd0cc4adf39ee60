"""linear: a layer of a block with the residual around it: x @ weight^T + bias + residual."""

from __future__ import annotations

import torch
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.packing import check_packed
from aedmae_fast.ops.parameters import check_parameters, check_states
from aedmae_fast.ops.quantize import between, check_weight, linear_layer
from aedmae_fast.ops.triton import cpp_or_triton, with_triton

__all__ = ["linear"]


def linear(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """A linear layer, added to ``residual`` where there is one.

    Args:
        x: float32 or bfloat16 [..., K]. All else is of its dtype. What is not contiguous is copied.
        weight: [N, K]: out, in. Or in 8 bits, as :mod:`aedmae_fast.ops.quantize` says; on a CPU also packed, as
            :mod:`aedmae_fast.ops.packing` says.
        bias: [N].
        residual: [..., N] or None.
        scale: float32 [N] of a quantized weight, else None.

    Returns:
        [..., N], contiguous, in the dtype of ``x``. Sums are in float32, and rounded once.

    Raises:
        TypeError: dtypes differ, or are neither float32 nor bfloat16; a quantized weight that is not computed here.
        ValueError: shapes or devices that do not fit each other; more products than the sums of int8 hold.
    """
    return torch.ops.aedmae.linear(x, weight, bias, residual, scale)


def linear_reference(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """:func:`linear` in plain PyTorch: the executable specification."""
    out = linear_layer(x.to(between(x, scale)), weight, bias, scale)
    return (out if residual is None else residual + out).to(x.dtype)


def _check(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, scale: Tensor | None = None
) -> None:
    check_states("x", x)
    if x.ndim < 1:
        raise ValueError(f"x: expected [..., K], found {tuple(x.shape)}")
    n = bias.numel()
    check_weight("weight", weight, scale, (n, x.shape[-1]), x)
    parameters = (
        ("bias", bias, (n,)),
        *([] if residual is None else [("residual", residual, (*x.shape[:-1], n))]),
    )
    check_parameters("x", x, parameters)


def _fake(x: Tensor, weight: Tensor, bias: Tensor, *_: object) -> Tensor:
    return x.new_empty((*x.shape[:-1], len(bias)))


def _cpu(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    inputs = [None if t is None else t.contiguous() for t in (x, weight, bias, scale, residual)]
    out = _fake(x, weight, bias)
    shape = x.shape[:-1].numel(), x.shape[-1], len(bias)
    packed = check_packed("weight", weight, (len(bias), x.shape[-1]), x.dtype if scale is None else torch.int8)
    native.cpu().linear(x.dtype == torch.bfloat16, packed, *map(native.address, inputs), out.data_ptr(), shape)
    return out


register(
    "linear(Tensor x, Tensor weight, Tensor bias, Tensor? residual=None, Tensor? scale=None) -> Tensor",
    check=_check,
    cpu=_cpu,
    cuda=with_triton("linear", linear_reference),
    fake=_fake,
    backends=cpp_or_triton,
)
