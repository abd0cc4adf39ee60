"""LayerNorm's statistics, as a step inside the kernels."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["row_statistics"]


@triton.jit
def row_statistics(
    x,  # float32 [M, BLOCK_C], zero beyond C
    channels,  # [BLOCK_C]
    C: tl.constexpr,
    EPS: tl.constexpr,
):
    """Mean and reciprocal standard deviation of every row, [M] each, in two passes over the registers."""
    mean = tl.sum(x, 1) / C
    centred = tl.where(channels[None, :] < C, x - mean[:, None], 0.0)
    return mean, tl.rsqrt(tl.sum(centred * centred, 1) / C + EPS)
