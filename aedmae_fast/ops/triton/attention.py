"""attention in Triton: online softmax over blocks of keys, the scores never in memory (flash attention).

Counted per frame and head, N tokens, D channels, 2 bytes a value: 4 N D values from and to memory (Avenue's decoder,
N = 801, D = 32: 205 kB; encoder, 401, 64: 205 kB), 4 N^2 D operations (82 and 41 MFLOP) and N^2 exponentials. An H100
multiplies 4 D of them in 1/33 (D = 32) of a clock per multiprocessor but takes 1/16 for the exponential: exponentials
and the arithmetic around them bound it, so that what counts is instructions per score (a maximum, a fused
multiply-add, exp2, a sum, half a conversion) and no block that is mostly padding.

Keys come in full blocks, without a mask, and one masked tail of its own size: 801 = 12 x 64 + 33 and
401 = 6 x 64 + 17 cost 832 and 416.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.triton.launch import PRECISION, Table, launch, power_of_2

__all__ = ["attention"]

LOG2_E = 1.4426950408889634
LAUNCH: Table = {
    torch.bfloat16: {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4, "num_stages": 2},
    torch.float32: {"BLOCK_M": 64, "BLOCK_N": 32, "num_warps": 4, "num_stages": 2},
}


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """:func:`aedmae_fast.ops.attention` of tensors on one device."""
    b, heads, n, d = q.shape
    out = q.new_empty((b, n, heads * d))
    if scale <= 0:  # the kernel takes the maximum before it scales
        q, scale = (-q, -scale) if scale < 0 else (torch.zeros_like(q), 1.0)
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
    parameters = LAUNCH[q.dtype]
    tiles, tail = triton.cdiv(n, parameters["BLOCK_M"]), n % parameters["BLOCK_N"]
    launch(
        _kernel,
        tiles * heads * b,
        *(q, k, v, out, scale * LOG2_E),
        *(stride for x in (q, k, v) for stride in x.stride()[:3]),
        N=n,
        D=d,
        HEADS=heads,
        TILES=tiles,
        TAIL=power_of_2(tail) if tail else 0,
        BLOCK_D=power_of_2(d),
        **parameters,
    )
    return out


@triton.jit
def _kernel(
    q,  # [B, HEADS, N, D] with the strides below
    k,
    v,
    out,  # [B, N, HEADS * D]
    scale,  # factor of the scores, times log2(e)
    q_batch,
    q_head,
    q_token,
    k_batch,
    k_head,
    k_token,
    v_batch,
    v_head,
    v_token,
    N: tl.constexpr,
    D: tl.constexpr,
    HEADS: tl.constexpr,
    TILES: tl.constexpr,  # blocks of queries
    BLOCK_M: tl.constexpr,  # queries of this program
    BLOCK_N: tl.constexpr,  # keys of a step
    TAIL: tl.constexpr,  # tile of the last keys, 0 where BLOCK_N divides N
    BLOCK_D: tl.constexpr,
):
    tile = tl.program_id(0) % TILES  # programs that share keys run side by side
    head = tl.program_id(0) // TILES % HEADS
    batch = (tl.program_id(0) // (TILES * HEADS)).to(tl.int64)
    rows = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    channels = tl.arange(0, BLOCK_D)
    q += batch * q_batch + head * q_head
    k += batch * k_batch + head * k_head
    v += batch * v_batch + head * v_head
    queries = tl.load(
        q + rows[:, None] * q_token + channels[None, :],
        mask=(rows[:, None] < N) & (channels[None, :] < D),
        other=0.0,
    )  # [BLOCK_M, BLOCK_D]
    peak = tl.full([BLOCK_M], float("-inf"), tl.float32)  # greatest score so far
    total = tl.zeros([BLOCK_M], tl.float32)  # sum of exp2(scale * (score - peak))
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for start in range(0, N - N % BLOCK_N, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        peak, total, acc = _step(
            queries, k, v, keys, channels, k_token, v_token, scale, peak, total, acc, N, D, MASKED=False
        )
    if TAIL > 0:
        keys = N - N % BLOCK_N + tl.arange(0, TAIL)
        peak, total, acc = _step(
            queries, k, v, keys, channels, k_token, v_token, scale, peak, total, acc, N, D, MASKED=True
        )
    out += batch * N * HEADS * D + head * D
    tl.store(
        out + rows[:, None] * HEADS * D + channels[None, :],
        (acc / total[:, None]).to(out.dtype.element_ty),
        mask=(rows[:, None] < N) & (channels[None, :] < D),
    )


@triton.jit
def _step(
    queries,
    k,
    v,
    keys,
    channels,
    k_token,
    v_token,
    scale,
    peak,
    total,
    acc,
    N: tl.constexpr,
    D: tl.constexpr,
    MASKED: tl.constexpr,  # keys may lie beyond N
):
    """Take one block of keys into the running softmax."""
    mask = channels[None, :] < D
    if MASKED:
        mask &= keys[:, None] < N
    key_block = tl.load(k + keys[:, None] * k_token + channels[None, :], mask=mask, other=0.0)
    scores = tl.dot(queries, tl.trans(key_block), input_precision=PRECISION)  # [BLOCK_M, keys]
    if MASKED:
        scores = tl.where(keys[None, :] < N, scores, float("-inf"))
    raised = tl.maximum(peak, tl.max(scores, 1))
    weights = tl.exp2(scores * scale - (raised * scale)[:, None])
    shrink = tl.exp2((peak - raised) * scale)
    total = total * shrink + tl.sum(weights, 1)
    value_block = tl.load(v + keys[:, None] * v_token + channels[None, :], mask=mask, other=0.0)
    acc = tl.dot(weights.to(v.dtype.element_ty), value_block, acc * shrink[:, None], input_precision=PRECISION)
    return raised, total, acc
