"""Weights of linear layers packed once for the CPU's kernels, which otherwise do it in every call.

A packed weight is an ordinary tensor: the weight [..., N, K] with zeros beyond its end, cut into blocks,

    [..., panels, steps, columns, elements]        n = panel * columns + column,    k = step * elements + element

in the order in which the kernels read it. How large a block is, and the dtype, depend on the instruction set in use:
``columns`` are multiplied at a time, ``elements`` fill 32 bits, ``steps`` are whole tiles where AMX is in use, and what
it cannot multiply is widened (bfloat16 to float32, int8 to int16; both are exact). A weight packed for other kernels is
refused by its shape or dtype.

``linear``, ``mlp``, ``dwconv_qkv`` and ``patch_embed`` take either form and compute the same bits.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import native

__all__ = ["check_packed", "is_packed", "pack_weight", "unpack_weight"]

BLOCK_AXES = 4  # of a packed weight, in the place of N and K


class _Form(NamedTuple):
    """What a weight becomes."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def pack_weight(weight: Tensor) -> Tensor:
    """A weight packed for the kernels in use.

    Args:
        weight: float32, bfloat16 or int8 [N, K] or [3, N, K] on the CPU.

    Returns:
        [..., panels, steps, columns, elements], contiguous, in the dtype that is multiplied.

    Raises:
        TypeError: another dtype.
        ValueError: another device.
    """
    if weight.dtype not in (*native.DTYPES, torch.int8):
        raise TypeError(f"weight: {weight.dtype} is not computed on a CPU; expected float32, bfloat16 or int8")
    if weight.device.type != "cpu":
        raise ValueError(f"weight: expected on the cpu, whose kernels it is packed for, found on {weight.device}")
    n, k = weight.shape[-2:]
    form = _form(tuple(weight.shape), weight.dtype, native.cpu().isa())
    panels, steps, columns, elements = form.shape[-BLOCK_AXES:]
    padded = F.pad(weight.to(form.dtype), (0, steps * elements - k, 0, panels * columns - n))
    blocks = padded.unflatten(-1, (steps, elements)).unflatten(-3, (panels, columns))
    return blocks.transpose(-3, -2).contiguous()


def unpack_weight(packed: Tensor, n: int, k: int) -> Tensor:
    """The inverse of :func:`pack_weight`: [..., N, K], int8 where that was; bfloat16 that was widened stays so."""
    padded = packed.transpose(-3, -2).flatten(-2).flatten(-3, -2)  # [..., panels * columns, steps * elements]
    weight = padded[..., :n, :k].contiguous()
    return weight.to(torch.int8) if weight.dtype == torch.int16 else weight


def is_packed(weight: Tensor) -> bool:
    """By the number of axes: plain weights have two, or three."""
    return weight.ndim >= BLOCK_AXES


def check_packed(name: str, weight: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Whether the weight called ``name``, plainly ``dtype`` of ``shape``, is packed; and then, for the kernels in use.

    Raises:
        ValueError: it is packed for other kernels, or of another shape.
    """
    if not is_packed(weight):
        return False
    form = _form(shape, dtype, native.cpu().isa())
    if weight.shape != form.shape or weight.dtype != form.dtype:
        raise ValueError(
            f"{name}: packed for {native.cpu().isa()}, {shape} in {dtype} is {form.shape} in {form.dtype},"
            f" found {tuple(weight.shape)} in {weight.dtype}"
        )
    return True


@functools.cache
def _form(shape: tuple[int, ...], dtype: torch.dtype, isa: str) -> _Form:  # isa: the one in use
    *several, n, k = shape
    most, lanes, elements, steps = native.cpu().packing(dtype == torch.bfloat16, dtype == torch.int8)
    columns = min(most, math.ceil(max(n, 1) / lanes) * lanes)
    blocks = math.ceil(n / columns), math.ceil(k / (steps * elements)) * steps, columns, elements
    multiplied = {1: torch.float32, 2: torch.bfloat16} if dtype != torch.int8 else {2: torch.int16, 4: torch.int8}
    return _Form((*several, *blocks), multiplied[elements])
