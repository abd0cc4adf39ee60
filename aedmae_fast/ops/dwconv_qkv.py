"""dwconv_qkv: a block's queries, keys and values: LayerNorm, three depth-wise convolutions, three projections.

    y = LayerNorm(x),    q, k, v = proj(conv(y))    for the tokens, as a grid, zeros around it
                         q, k, v = proj(y)          for [CLS], which bypasses the convolutions

BatchNorm is folded: into ``conv_weight`` (its scale) and ``conv_bias`` (its shift). [CLS] sees neither.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.packing import check_packed
from aedmae_fast.ops.parameters import EPS, check_parameters, check_states
from aedmae_fast.ops.quantize import between, check_weight, linear_layer, plain
from aedmae_fast.ops.triton import cpp_or_triton, with_triton

__all__ = ["dwconv_qkv"]


def dwconv_qkv(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    grid: tuple[int, int],
    proj_scale: Tensor | None = None,
) -> Tensor:
    """Queries, keys and values of a block.

    Args:
        x: float32 or bfloat16 [B, 1+T, C], [CLS] first; C >= 1. All else is of its dtype. What is not contiguous is
            copied.
        norm_weight, norm_bias: [C].
        conv_weight: [3, 3, 3, C]: q, k, v; row; column; channel.
        conv_bias: [3, C].
        proj_weight: [3, C, C]: q, k, v; out; in. Or in 8 bits, as :mod:`aedmae_fast.ops.quantize` says; on a CPU also
            packed, as :mod:`aedmae_fast.ops.packing` says.
        proj_bias: [3, C].
        grid: rows and columns of the tokens, each 1 at least, whose product is T.
        proj_scale: float32 [3, C] of a quantized weight, else None.

    Returns:
        [3, B, 1+T, C], contiguous, in the dtype of ``x``.

    Raises:
        TypeError: dtypes differ, or are neither float32 nor bfloat16; a quantized weight that is not computed here.
        ValueError: shapes or devices that do not fit each other; more products than the sums of int8 hold.
    """
    parameters = norm_weight, norm_bias, conv_weight, conv_bias, proj_weight, proj_bias
    return torch.ops.aedmae.dwconv_qkv(x, *parameters, *grid, proj_scale)


def dwconv_qkv_reference(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    height: int,
    width: int,
    proj_scale: Tensor | None = None,
) -> Tensor:
    """:func:`dwconv_qkv` in plain PyTorch: the executable specification."""
    b, n, c = x.shape
    dtype = between(x, proj_scale)
    y = F.layer_norm(x.to(dtype), (c,), norm_weight.to(dtype), norm_bias.to(dtype), EPS)
    image = y[:, 1:].transpose(1, 2).unflatten(2, (height, width))  # [B, C, h, w]
    kernels = conv_weight.to(dtype).permute(3, 0, 1, 2).reshape(3 * c, 1, 3, 3)  # the three of a channel side by side
    conv = F.conv2d(image, kernels, conv_bias.to(dtype).t().flatten(), padding=1, groups=c)  # [B, C*3, h, w]
    tokens = conv.reshape(b, c, 3, n - 1).permute(2, 0, 3, 1)  # [3, B, T, C]
    tokens = torch.cat([y[None, :, :1].expand(3, -1, -1, -1), tokens], dim=2)  # [3, B, 1+T, C]
    proj_weight = plain(proj_weight, c, c, tokens, proj_scale)
    if proj_scale is None:
        return tokens @ proj_weight.transpose(1, 2)[:, None] + proj_bias[:, None, None]
    projections = zip(tokens, proj_weight, proj_bias, proj_scale, strict=True)
    return torch.stack([linear_layer(*projection) for projection in projections]).to(x.dtype)


def _check(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    height: int,
    width: int,
    proj_scale: Tensor | None = None,
) -> None:
    check_states("x", x)
    if height < 1 or width < 1:  # two negative numbers have a product that may fit
        raise ValueError(f"grid: expected 1 x 1 or more, found {height} x {width}")
    if x.ndim != 3 or x.shape[1] != 1 + height * width:
        raise ValueError(
            f"x: expected [B, {1 + height * width}, C] for a grid {height} x {width}, found {tuple(x.shape)}"
        )
    c = x.shape[2]
    if c < 1:  # there is no convolution of no channels
        raise ValueError(f"x: expected at least one channel, found {tuple(x.shape)}")
    check_weight("proj_weight", proj_weight, proj_scale, (3, c, c), x)
    parameters = (
        ("norm_weight", norm_weight, (c,)),
        ("norm_bias", norm_bias, (c,)),
        ("conv_weight", conv_weight, (3, 3, 3, c)),
        ("conv_bias", conv_bias, (3, c)),
        ("proj_bias", proj_bias, (3, c)),
    )
    check_parameters("x", x, parameters)


def _fake(x: Tensor, *_: object) -> Tensor:
    return x.new_empty((3, *x.shape))


def _cpu(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    height: int,
    width: int,
    proj_scale: Tensor | None = None,
) -> Tensor:
    given = x, norm_weight, norm_bias, conv_weight, conv_bias, proj_weight, proj_bias, proj_scale
    inputs = [None if t is None else t.contiguous() for t in given]
    out = x.new_empty((3, *x.shape))
    c = x.shape[2]
    shape = (len(x), height, width, c)
    packed = check_packed("proj_weight", proj_weight, (3, c, c), x.dtype if proj_scale is None else torch.int8)
    native.cpu().dwconv_qkv(x.dtype == torch.bfloat16, packed, *map(native.address, inputs), out.data_ptr(), shape)
    return out


register(
    "dwconv_qkv(Tensor x, Tensor norm_weight, Tensor norm_bias, Tensor conv_weight, Tensor conv_bias,"
    " Tensor proj_weight, Tensor proj_bias, SymInt height, SymInt width, Tensor? proj_scale=None) -> Tensor",
    check=_check,
    cpu=_cpu,
    cuda=with_triton("dwconv_qkv", dwconv_qkv_reference),
    fake=_fake,
    backends=cpp_or_triton,
)
