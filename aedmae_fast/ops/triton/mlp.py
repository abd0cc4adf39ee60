"""mlp in Triton: norm, both layers, GELU and residual in one kernel; the hidden units never reach memory.

Counted per frame, N tokens, C channels, R = 2 C hidden units: 4 N C bytes from and to memory in bfloat16 (Avenue's
decoder, 801 x 128, and its encoder, 401 x 256: 410 kB each), 4 N C R operations (105 and 210 MFLOP), N R erf. The
weights (131 and 524 kB) are read from the second-level cache once a program: 1.6 and 3.3 MB a frame.

Rows are those of the whole batch, so that no tile but the last is padded.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.parameters import EPS
from aedmae_fast.ops.triton.launch import Table, launch, least_sum, power_of_2
from aedmae_fast.ops.triton.norm import row_statistics
from aedmae_fast.ops.triton.product import layer_sum, product

__all__ = ["mlp"]

LAUNCH: Table = {
    torch.bfloat16: {"BLOCK_M": 64, "BLOCK_R": 32, "num_warps": 8, "num_stages": 2},
    torch.float32: {"BLOCK_M": 32, "BLOCK_R": 32, "num_warps": 8, "num_stages": 1},
    torch.float8_e4m3fn: {"BLOCK_M": 64, "BLOCK_R": 32, "num_warps": 8, "num_stages": 2},
}


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
    """:func:`aedmae_fast.ops.mlp` of tensors on one device."""
    x = x.contiguous()
    weights = [w.contiguous() for w in (norm_weight, norm_bias, up_weight, up_bias, down_weight, down_bias)]
    scales = [None if s is None else s.contiguous() for s in (up_scale, down_scale)]
    out = x.new_empty(x.shape)
    b, n, c = x.shape
    parameters = LAUNCH[up_weight.dtype]
    launch(
        _kernel,
        triton.cdiv(b * n, parameters["BLOCK_M"]),
        *(x, *weights, *scales, out, b * n),
        N=n,
        C=c,
        R=len(up_bias),
        EPS=EPS,
        BLOCK_C=power_of_2(c, least_sum(up_weight)),
        **parameters,
    )
    return out


@triton.jit
def _kernel(
    x,  # [rows, C], the rows of all frames
    norm_weight,  # [C]
    norm_bias,  # [C]
    up_weight,  # [R, C]
    up_bias,  # [R]
    down_weight,  # [C, R]
    down_bias,  # [C]
    up_scale,  # float32 [R], or None: the weights are not quantized
    down_scale,  # float32 [C], or None
    out,  # [rows, C]
    total,  # rows
    N: tl.constexpr,  # rows of a frame, [CLS] first
    C: tl.constexpr,
    R: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_M: tl.constexpr,  # rows of this program
    BLOCK_C: tl.constexpr,
    BLOCK_R: tl.constexpr,  # hidden units of a step
):
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    rows = tl.arange(0, BLOCK_M)
    channels = tl.arange(0, BLOCK_C)
    known = channels < C
    offsets = rows[:, None] * C + channels[None, :]
    inside = (first + rows < total)[:, None] & known[None, :]
    x += first * C
    out += first * C

    tokens = tl.load(x + offsets, mask=inside, other=0.0)
    gain = tl.load(norm_weight + channels, mask=known, other=0.0).to(tl.float32)
    shift = tl.load(norm_bias + channels, mask=known, other=0.0).to(tl.float32)
    mean, scale = row_statistics(tokens.to(tl.float32), channels, C, EPS)
    y = (tokens.to(tl.float32) - mean[:, None]) * scale[:, None] * gain[None, :] + shift[None, :]
    if up_scale is not None:  # what is not multiplied is not quantized: [CLS] is done
        is_cls = ((first + rows) % N == 0)[:, None]
        tl.store(out + offsets, (tokens.to(tl.float32) + y).to(out.dtype.element_ty), mask=inside & is_cls)
    y = y.to(up_weight.dtype.element_ty)  # [BLOCK_M, BLOCK_C]

    acc = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    for start in range(0, R, BLOCK_R):
        units = start + tl.arange(0, BLOCK_R)
        exists = units < R
        up = tl.load(
            up_weight + units[:, None] * C + channels[None, :], mask=exists[:, None] & known[None, :], other=0.0
        )
        hidden = product(y, up, tl.zeros([BLOCK_M, BLOCK_R], tl.float32))
        hidden = layer_sum(hidden, up_scale, up_bias, units, exists)
        hidden = 0.5 * hidden * (1.0 + tl.erf(hidden * 0.7071067811865476))
        down = tl.load(
            down_weight + channels[:, None] * R + units[None, :], mask=known[:, None] & exists[None, :], other=0.0
        )
        acc = product(hidden, down, acc)
    acc = layer_sum(acc, down_scale, down_bias, channels, known)

    is_cls = ((first + rows) % N == 0)[:, None]
    if up_scale is None:
        acc = tl.where(is_cls, y.to(tl.float32), acc)
    # Once more from the cache: kept, they would take the registers that the products need.
    tokens = tl.load(x + offsets, mask=inside, other=0.0, eviction_policy="evict_first")
    if up_scale is not None:
        inside &= ~is_cls
    tl.store(out + offsets, (tokens.to(tl.float32) + acc).to(out.dtype.element_ty), mask=inside)
