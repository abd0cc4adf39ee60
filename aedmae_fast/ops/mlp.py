"""mlp: a block's second half: LayerNorm, two linear layers with GELU (erf) between them, residual.

x + down(GELU(up(y)))   for the tokens,    x + y   for [CLS],    y = LayerNorm(x)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.parameters import EPS, check_parameters
from aedmae_fast.ops.triton import triton_backend, with_triton

__all__ = ["mlp"]


def mlp(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
) -> Tensor:
    """The MLP of a block with its norm and its residual.

    Args:
        x: float32 or bfloat16 [B, 1+T, C], [CLS] first, contiguous. All else is of its dtype.
        norm_weight, norm_bias: [C].
        up_weight: [R, C]: out, in.
        up_bias: [R].
        down_weight: [C, R].
        down_bias: [C].

    Returns:
        [B, 1+T, C], contiguous, in the dtype of ``x``.

    Raises:
        TypeError: dtypes differ, or are neither float32 nor bfloat16.
        ValueError: shapes or devices that do not fit each other.
    """
    _check(x, norm_weight, norm_bias, up_weight, up_bias, down_weight, down_bias)
    return torch.ops.aedmae.mlp(x, norm_weight, norm_bias, up_weight, up_bias, down_weight, down_bias)


def mlp_reference(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
) -> Tensor:
    """:func:`mlp` in plain PyTorch: the executable specification."""
    y = F.layer_norm(x, x.shape[2:], norm_weight, norm_bias, EPS)
    tokens = F.linear(F.gelu(F.linear(y[:, 1:], up_weight, up_bias)), down_weight, down_bias)
    return x + torch.cat([y[:, :1], tokens], dim=1)


def _check(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
) -> None:
    if x.dtype not in native.DTYPES:
        raise TypeError(f"x: expected float32 or bfloat16, found {x.dtype}")
    if x.ndim != 3 or x.shape[1] < 1:
        raise ValueError(f"x: expected [B, 1+T, C], found {tuple(x.shape)}")
    c, r = x.shape[2], up_bias.numel()
    parameters = (
        ("norm_weight", norm_weight, (c,)),
        ("norm_bias", norm_bias, (c,)),
        ("up_weight", up_weight, (r, c)),
        ("up_bias", up_bias, (r,)),
        ("down_weight", down_weight, (c, r)),
        ("down_bias", down_bias, (c,)),
    )
    check_parameters("x", x, parameters)


def _fake(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
) -> Tensor:
    return x.new_empty(x.shape)


def _cpu(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
) -> Tensor:
    inputs = [t.contiguous() for t in (x, norm_weight, norm_bias, up_weight, up_bias, down_weight, down_bias)]
    out = x.new_empty(x.shape)
    shape = (*x.shape, len(up_bias))
    native.cpu().mlp(x.dtype == torch.bfloat16, *[t.data_ptr() for t in inputs], out.data_ptr(), shape)
    return out


register(
    "mlp(Tensor x, Tensor norm_weight, Tensor norm_bias, Tensor up_weight, Tensor up_bias, Tensor down_weight,"
    " Tensor down_bias) -> Tensor",
    cpu=_cpu,
    cuda=with_triton("mlp", mlp_reference),
    fake=_fake,
    backends=lambda: {"cpu": native.cpu_backend(), "cuda": triton_backend()},
)
