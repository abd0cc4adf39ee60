"""Linear layers with weights of 8 bits: what a quantized weight is, and what its product with activations is.

A weight is int8 (-127..127) or float8_e4m3fn (-448..448), with one float32 scale for each output channel:

    weight = scale[..., None] * quantized        scale = max |weight| over the channel / largest

Activations are quantized where they are multiplied, from their value in float32:

    int8            each row (token) by itself: a = round(x * (127 / m)), half to even, m = max |x| over the row. A
                    row with m < 2^-100 is zeros. Sums are exact, in int32, which holds 133 144 products: K is not
                    more. out = sum * (m / 127 * scale) + bias.
    float8_e4m3fn   a = x rounded to nearest even, saturating at +-448: being floating point it needs no scale where
                    values lie well inside its range. Sums are in float32; out = sum * scale + bias.

Pixels (``patch_embed``) are integers, which int8 multiplies as they are: 0..255, of which int32 holds 66 311 products.
What follows is in float32, and the result is rounded once to the dtype of the activations.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops.packing import is_packed, unpack_weight
from aedmae_fast.ops.parameters import check_like, check_parameters

__all__ = ["between", "check_weight", "linear_layer", "most_products", "plain", "quantize_weight"]

LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}  # magnitude; its keys are what weights are quantized to
# What each kind of device has kernels for; of others than these (meta) all is taken.
COMPUTED: dict[str, tuple[torch.dtype, ...]] = {"cpu": (torch.int8,), "cuda": (torch.float8_e4m3fn,)}
TINY = 2.0**-100  # 127 / m is infinite below 2^-121
LEVEL, PIXEL = 127, 255  # the largest that int8 weights are multiplied by


def quantize_weight(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A weight in 8 bits.

    Args:
        weight: floating point [..., N, K]: out, in.
        dtype: int8 or float8_e4m3fn.

    Returns:
        The quantized weight, ``dtype`` [..., N, K], and its scale, float32 [..., N]; both 0 where a channel is zeros.

    Raises:
        TypeError: ``dtype`` is another.
        ValueError: K is 0, or above what the sums of int8 hold.
    """
    if dtype not in LARGEST:
        raise TypeError(f"dtype: expected {_names(LARGEST)}, found {dtype}")
    if weight.ndim < 2 or not weight.shape[-1]:
        raise ValueError(f"weight: expected [..., N, K], K from 1, found {tuple(weight.shape)}")
    _check_sums("weight", dtype, weight.shape[-1], LEVEL)
    exact, largest = weight.detach().double(), LARGEST[dtype]
    scale = (exact.abs().amax(-1) / largest).float()
    levels = (exact / scale.double()[..., None]).nan_to_num(0).clamp(-largest, largest)
    return (levels.round() if dtype == torch.int8 else levels.float()).to(dtype), scale


def linear_layer(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None) -> Tensor:
    """``x @ weight^T + bias`` in plain PyTorch, of a weight as it is or of a quantized one: the specification.

    Args:
        x: floating point [..., K].
        weight: [N, K] in the dtype of ``x``, or quantized, or either packed.
        bias: [N] in the dtype of ``x``.
        scale: float32 [N] of a quantized weight, else None.

    Returns:
        [..., N] in the dtype of ``x``.
    """
    weight = plain(weight, len(bias), x.shape[-1], x, scale)
    if scale is None:
        return F.linear(x, weight, bias)
    rows, row_scale = _quantize_rows(x.float(), weight.dtype)
    sums = rows.double() @ weight.double().t()  # exact for int8
    return (sums * (row_scale.double() * scale.double()) + bias.double()).to(x.dtype)


def plain(weight: Tensor, n: int, k: int, like: Tensor, scale: Tensor | None) -> Tensor:
    """The weight [..., N, K] as it was before it was packed, if it was: in the dtype of ``like``, or quantized."""
    if not is_packed(weight):
        return weight
    weight = unpack_weight(weight, n, k)
    return weight if scale is not None else weight.to(like.dtype)


def between(x: Tensor, scale: Tensor | None) -> torch.dtype:
    """What the specification computes in: the dtype of ``x``, but float64 before a quantized product.

    So that no value is rounded to bfloat16 before it is quantized.
    """
    return x.dtype if scale is None else torch.float64


def _quantize_rows(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:  # float32 [..., K] -> [..., K], [..., 1]
    if dtype == torch.float8_e4m3fn:
        return x.clamp(-LARGEST[dtype], LARGEST[dtype]).to(dtype), torch.ones_like(x[..., :1])
    most = x.abs().amax(-1, keepdim=True)
    most = torch.where(most < TINY, 0, most)
    inverse = torch.where(most == 0, 0, LARGEST[dtype] / most)
    return (x * inverse).round(), most / LARGEST[dtype]


def check_weight(
    name: str,
    weight: Tensor,
    scale: Tensor | None,
    shape: tuple[int, ...],
    like: Tensor,
    like_name: str = "x",
    largest: int = LEVEL,
) -> None:
    """The weight called ``name`` is of ``shape``, and of the dtype of ``like``, or quantized; or packed, on a CPU.

    Of a packed weight, shape and dtype are checked where it is multiplied: they are those of the kernels then in use.

    Args:
        scale: of a quantized weight; its own name is that of the weight with ``scale`` for ``weight``.
        largest: that an int8 weight is multiplied by.

    Raises:
        TypeError: another dtype, or one that the device does not compute with.
        ValueError: another shape or device, of weight or scale; packed, and not on a CPU; more products than an int8
            sum holds.
    """
    if is_packed(weight):
        if like.device.type not in ("cpu", "meta"):
            raise ValueError(f"{name}: packed weights are for CPUs, but {like_name} is on {like.device}: unpack_weight")
        check_like(name, weight, weight.shape, like)
        if scale is not None:
            _check_sums(name, torch.int8, shape[-1], largest)
            _check_scale(name, scale, shape, like)
        return
    if scale is None:
        check_parameters(like_name, like, [(name, weight, shape)])
        return
    if weight.dtype not in LARGEST:
        raise TypeError(f"{name}: expected {_names(LARGEST)}, as it has a scale, found {weight.dtype}")
    taken = COMPUTED.get(like.device.type, tuple(LARGEST))
    if weight.dtype not in taken:
        advice = f"quantize it to {_names(taken)}" if taken else "take one that is not quantized"
        raise TypeError(f"{name}: {weight.dtype} is not computed on a {like.device.type} device; {advice}")
    check_like(name, weight, shape, like)
    _check_sums(name, weight.dtype, shape[-1], largest)
    _check_scale(name, scale, shape, like)


def most_products(largest: int) -> int:
    """How many products of int8 weights and of integers up to ``largest`` add up in int32, whatever they are."""
    return torch.iinfo(torch.int32).max // (int(LARGEST[torch.int8]) * largest)


def _check_sums(name: str, dtype: torch.dtype, products: int, largest: int) -> None:
    if dtype == torch.int8 and products > most_products(largest):
        raise ValueError(
            f"{name}: expected at most {most_products(largest)} products in a sum, which int8 adds up in int32, found"
            f" {products}; leave this weight unquantized"
        )


def _check_scale(name: str, scale: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    scale_name = name.removesuffix("weight") + "scale"
    if scale.dtype != torch.float32:
        raise TypeError(f"{scale_name}: expected torch.float32, found {scale.dtype}")
    check_like(scale_name, scale, shape[:-1], like)


def _names(dtypes: Iterable[torch.dtype]) -> str:
    return " or ".join(map(str, dtypes))
