"""mlp: a block's second half: LayerNorm, two linear layers with GELU (erf) between them, residual.

x + down(GELU(up(y)))   for the tokens,    x + y   for [CLS],    y = LayerNorm(x)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.packing import check_packed, is_packed
from aedmae_fast.ops.parameters import EPS, check_parameters, check_states
from aedmae_fast.ops.quantize import between, check_weight, linear_layer
from aedmae_fast.ops.triton import cpp_or_triton, with_triton

__all__ = ["mlp"]


def mlp(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_scale: Tensor | None = None,
    down_scale: Tensor | None = None,
) -> Tensor:
    """The MLP of a block with its norm and its residual.

    Args:
        x: float32 or bfloat16 [B, 1+T, C], [CLS] first. All else is of its dtype. What is not contiguous is copied.
        norm_weight, norm_bias: [C].
        up_weight: [R, C]: out, in. Or in 8 bits, as :mod:`aedmae_fast.ops.quantize` says; on a CPU also packed, as
            :mod:`aedmae_fast.ops.packing` says.
        up_bias: [R].
        down_weight: [C, R], quantized and packed where ``up_weight`` is.
        down_bias: [C].
        up_scale, down_scale: float32 [R] and [C] of quantized weights, else None.

    Returns:
        [B, 1+T, C], contiguous, in the dtype of ``x``.

    Raises:
        TypeError: dtypes differ, or are neither float32 nor bfloat16; a quantized weight that is not computed here.
        ValueError: shapes or devices that do not fit each other; more products than the sums of int8 hold.
    """
    arguments = x, norm_weight, norm_bias, up_weight, up_bias, down_weight, down_bias, up_scale, down_scale
    return torch.ops.aedmae.mlp(*arguments)


def mlp_reference(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_scale: Tensor | None = None,
    down_scale: Tensor | None = None,
) -> Tensor:
    """:func:`mlp` in plain PyTorch: the executable specification."""
    dtype = between(x, up_scale)
    y = F.layer_norm(x.to(dtype), x.shape[2:], norm_weight.to(dtype), norm_bias.to(dtype), EPS)
    hidden = F.gelu(linear_layer(y[:, 1:], up_weight, up_bias, up_scale))
    tokens = linear_layer(hidden, down_weight, down_bias, down_scale)
    return (x + torch.cat([y[:, :1], tokens], dim=1)).to(x.dtype)


def _check(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_scale: Tensor | None = None,
    down_scale: Tensor | None = None,
) -> None:
    check_states("x", x)
    if x.ndim != 3 or x.shape[1] < 1:
        raise ValueError(f"x: expected [B, 1+T, C], found {tuple(x.shape)}")
    c, r = x.shape[2], up_bias.numel()
    if (up_scale is None) != (down_scale is None):
        raise ValueError("down_scale: expected where up_scale is given and only there")
    if up_scale is not None and down_weight.dtype != up_weight.dtype:
        raise TypeError(f"down_weight: expected {up_weight.dtype} as up_weight, found {down_weight.dtype}")
    if is_packed(up_weight) != is_packed(down_weight):
        raise ValueError("down_weight: expected packed where up_weight is packed and only there")
    check_weight("up_weight", up_weight, up_scale, (r, c), x)
    check_weight("down_weight", down_weight, down_scale, (c, r), x)
    parameters = (
        ("norm_weight", norm_weight, (c,)),
        ("norm_bias", norm_bias, (c,)),
        ("up_bias", up_bias, (r,)),
        ("down_bias", down_bias, (c,)),
    )
    check_parameters("x", x, parameters)


def _fake(x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


def _cpu(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_scale: Tensor | None = None,
    down_scale: Tensor | None = None,
) -> Tensor:
    given = x, norm_weight, norm_bias, up_weight, up_bias, down_weight, down_bias, up_scale, down_scale
    inputs = [None if t is None else t.contiguous() for t in given]
    out = x.new_empty(x.shape)
    shape = (*x.shape, len(up_bias))
    c, r, dtype = x.shape[2], len(up_bias), x.dtype if up_scale is None else torch.int8
    packed = check_packed("up_weight", up_weight, (r, c), dtype)
    check_packed("down_weight", down_weight, (c, r), dtype)
    native.cpu().mlp(x.dtype == torch.bfloat16, packed, *map(native.address, inputs), out.data_ptr(), shape)
    return out


register(
    "mlp(Tensor x, Tensor norm_weight, Tensor norm_bias, Tensor up_weight, Tensor up_bias, Tensor down_weight,"
    " Tensor down_bias, Tensor? up_scale=None, Tensor? down_scale=None) -> Tensor",
    check=_check,
    cpu=_cpu,
    cuda=with_triton("mlp", mlp_reference),
    fake=_fake,
    backends=cpp_or_triton,
)
