"""linear in Triton: a matrix product whose bias and residual are added before it is rounded and written.

Counted for M rows, K channels in and N out, 2 bytes a value: 2 M (K + 2 N) bytes from and to memory, 2 M K N
operations. Avenue's decoder, 801 x 128 -> 128: 615 kB a frame, 0.18 us of an H100 at 3.35 TB/s, against 26 MFLOP,
0.03 us. Memory bounds it, which is why the residual is added here: on its own it would be another 615 kB. Weights in
float8 halve what is left of the arithmetic, and of the 33 kB of weights.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.triton.launch import Table, launch, least_sum, power_of_2
from aedmae_fast.ops.triton.product import layer_sum, product

__all__ = ["linear"]

LAUNCH: Table = {  # BLOCK_N and BLOCK_K at most
    torch.bfloat16: {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 4, "num_stages": 3},
    torch.float32: {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2},
    torch.float8_e4m3fn: {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 32, "num_warps": 8, "num_stages": 3},
}


def linear(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """:func:`aedmae_fast.ops.linear` of tensors on one device."""
    x, weight, bias = (t.contiguous() for t in (x, weight, bias))
    n, k = weight.shape
    out = x.new_empty((*x.shape[:-1], n))
    rows = x.shape[:-1].numel()
    most, least = LAUNCH[weight.dtype], least_sum(weight)
    blocks = {"BLOCK_N": min(power_of_2(n), most["BLOCK_N"]), "BLOCK_K": min(power_of_2(k, least), most["BLOCK_K"])}
    tiles = triton.cdiv(n, blocks["BLOCK_N"])
    launch(
        _kernel,
        triton.cdiv(rows, most["BLOCK_M"]) * tiles,
        *(x, weight, None if scale is None else scale.contiguous(), bias),
        *(None if residual is None else residual.contiguous(), out, rows),
        K=k,
        N=n,
        TILES=tiles,
        **{**most, **blocks},
    )
    return out


@triton.jit
def _kernel(
    x,  # [rows, K]
    weight,  # [N, K]
    scale,  # float32 [N], or None: the weight is not quantized
    bias,  # [N]
    residual,  # [rows, N], or None
    out,  # [rows, N]
    total,  # rows
    K: tl.constexpr,
    N: tl.constexpr,
    TILES: tl.constexpr,  # programs for the same rows
    BLOCK_M: tl.constexpr,  # rows of this program
    BLOCK_N: tl.constexpr,  # channels that it makes
    BLOCK_K: tl.constexpr,  # channels of a step
):
    first = (tl.program_id(0) // TILES).to(tl.int64) * BLOCK_M
    rows = tl.arange(0, BLOCK_M)
    exists = first + rows < total
    made = tl.program_id(0) % TILES * BLOCK_N + tl.arange(0, BLOCK_N)
    x += first * K
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, K, BLOCK_K):
        channels = start + tl.arange(0, BLOCK_K)
        known = channels[None, :] < K
        a = tl.load(x + rows[:, None] * K + channels[None, :], mask=exists[:, None] & known, other=0.0)
        b = tl.load(weight + made[:, None] * K + channels[None, :], mask=(made[:, None] < N) & known, other=0.0)
        acc = product(a, b, acc)
    acc = layer_sum(acc, scale, bias, made, made < N)
    offsets = first * N + rows[:, None] * N + made[None, :]
    mask = exists[:, None] & (made[None, :] < N)
    if residual is not None:
        acc += tl.load(residual + offsets, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + offsets, acc.to(out.dtype.element_ty), mask=mask)
