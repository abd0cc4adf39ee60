"""The matrix product of a linear layer, of a weight as it is or in 8 bits, as steps inside the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

from aedmae_fast.ops.triton.launch import PRECISION

__all__ = ["layer_sum", "product"]


@triton.jit
def product(
    a,  # [M, K]
    b,  # [N, K]
    acc,  # float32 [M, N]
):
    """``acc + a @ b^T``, with ``a`` rounded to the dtype of ``b``: to float8 to nearest even, saturating.

    Sums are in float32. For products of float8 this has to be asked for: Hopper's tensor cores keep about 14 bits of a
    sum of them, and Triton would leave the whole sum there. 32 products are one instruction's, and as few as it can be
    told (for fewer it would leave the tensor cores for float8 altogether). It does not compile where a loop adds to
    ``acc`` in longer steps: those of LAUNCH are of 32.
    """
    if b.dtype == tl.float8e4nv:
        a = a.to(tl.float32).to(b.dtype)
        return tl.dot(a, tl.trans(b), acc, max_num_imprecise_acc=32)
    return tl.dot(a.to(b.dtype), tl.trans(b), acc, input_precision=PRECISION)


@triton.jit
def layer_sum(
    acc,  # float32 [M, N]
    scale,  # float32, of a quantized weight's channels, or None
    bias,
    channels,  # [N]
    known,  # bool [N]
):
    """What sums of products with a weight mean: times the weight's scale, if it is quantized, plus the bias."""
    if scale is not None:
        acc *= tl.load(scale + channels, mask=known, other=0.0)[None, :]
    return acc + tl.load(bias + channels, mask=known, other=0.0).to(tl.float32)[None, :]
