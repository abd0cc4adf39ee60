"""dwconv_qkv in Triton: one kernel for the norm's statistics, one for all else; neither the normalised tokens nor the
convolutions' results reach memory.

Counted per frame, N tokens, C channels, 2 bytes a value: 2 x 2 N C bytes read (by the two kernels; the second finds
most of them in the second-level cache), 6 N C written (Avenue's decoder, 801 x 128, and encoder, 401 x 256: 0.4 and
0.6 MB each), 6 N C^2 operations on tensor cores (79 and 158 MFLOP) and about 60 N C others: a token is normalised again
for each of the nine taps that see it, which takes less time than 2 N C more bytes to memory and back would.
Statistics in a kernel of their own, 8 N bytes, save another 27 N C.

A program makes up to 128 channels of q, of k and of v of its tokens, so that taps are loaded and normalised once for
the three of them (and twice for the encoder's 256 channels).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.parameters import EPS
from aedmae_fast.ops.triton.launch import Table, launch, power_of_2
from aedmae_fast.ops.triton.norm import row_statistics
from aedmae_fast.ops.triton.product import layer_sum, product

__all__ = ["dwconv_qkv"]

LAUNCH: Table = {  # BLOCK_N at most
    # One stage, as in patch_embed; with it, bfloat16 spills at steps of 32, and float8 at 128 channels.
    torch.bfloat16: {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 16, "num_warps": 8, "num_stages": 1},
    torch.float32: {"BLOCK_M": 32, "BLOCK_N": 128, "BLOCK_K": 16, "num_warps": 8, "num_stages": 1},
    torch.float8_e4m3fn: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "num_warps": 8, "num_stages": 1},
}


def dwconv_qkv(
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
    """:func:`aedmae_fast.ops.dwconv_qkv` of tensors on one device."""
    x = x.contiguous()
    weights = [w.contiguous() for w in (norm_weight, norm_bias, conv_weight, conv_bias, proj_weight, proj_bias)]
    b, n, c = x.shape
    out = x.new_empty((3, b, n, c))
    statistics = x.new_empty((2, b * n), dtype=torch.float32)
    launch(
        _statistics_kernel,
        triton.cdiv(b * n, 32),
        *(x, statistics, b * n),
        C=c,
        EPS=EPS,
        BLOCK_M=32,
        BLOCK_C=power_of_2(c),
        num_warps=4,
    )
    most = LAUNCH[proj_weight.dtype]
    parameters = {**most, "BLOCK_N": min(power_of_2(c), most["BLOCK_N"])}
    tiles = triton.cdiv(c, parameters["BLOCK_N"])
    launch(
        _kernel,
        triton.cdiv(b * n, parameters["BLOCK_M"]) * tiles,
        *(x, statistics, *weights, None if proj_scale is None else proj_scale.contiguous(), out, b * n),
        N=n,
        C=c,
        HEIGHT=height,
        WIDTH=width,
        TILES=tiles,
        **parameters,
    )
    return out


@triton.jit
def _statistics_kernel(
    x,  # [rows, C], the rows of all frames
    statistics,  # float32 [2, rows]: mean, reciprocal standard deviation
    total,  # rows
    C: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    rows = tl.arange(0, BLOCK_M)
    channels = tl.arange(0, BLOCK_C)
    exists = first + rows < total
    x += first * C
    values = tl.load(
        x + rows[:, None] * C + channels[None, :], mask=exists[:, None] & (channels[None, :] < C), other=0.0
    )
    mean, scale = row_statistics(values.to(tl.float32), channels, C, EPS)
    tl.store(statistics + first + rows, mean, mask=exists)
    tl.store(statistics + total + first + rows, scale, mask=exists)


@triton.jit
def _kernel(
    x,  # [rows, C], the rows of all frames
    statistics,  # float32 [2, rows]
    norm_weight,  # [C]
    norm_bias,  # [C]
    conv_weight,  # [3, 9, C]
    conv_bias,  # [3, C]
    proj_weight,  # [3, C, C]: out, in
    proj_bias,  # [3, C]
    proj_scale,  # float32 [3, C], or None: the weights are not quantized
    out,  # [3, rows, C]
    total,  # rows
    N: tl.constexpr,  # rows of a frame, [CLS] first
    C: tl.constexpr,
    HEIGHT: tl.constexpr,  # of the grid of tokens
    WIDTH: tl.constexpr,
    TILES: tl.constexpr,  # programs for the same rows
    BLOCK_M: tl.constexpr,  # rows of this program
    BLOCK_N: tl.constexpr,  # channels it makes of q, of k and of v
    BLOCK_K: tl.constexpr,  # channels of a step
):
    first = (tl.program_id(0) // TILES).to(tl.int64) * BLOCK_M
    rows = tl.arange(0, BLOCK_M)
    exists = first + rows < total
    position = ((first + rows) % N).to(tl.int32)
    is_cls = position == 0
    row = (position - 1) // WIDTH
    column = (position - 1) % WIDTH
    x += first * C
    statistics += first
    out_channels = tl.program_id(0) % TILES * BLOCK_N + tl.arange(0, BLOCK_N)
    q = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    k = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    v = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, C, BLOCK_K):
        channels = start + tl.arange(0, BLOCK_K)
        known = channels < C
        gain = tl.load(norm_weight + channels, mask=known, other=0.0).to(tl.float32)
        shift = tl.load(norm_bias + channels, mask=known, other=0.0).to(tl.float32)
        q_in = _conv_bias(conv_bias, channels, known, is_cls)
        k_in = _conv_bias(conv_bias + C, channels, known, is_cls)
        v_in = _conv_bias(conv_bias + 2 * C, channels, known, is_cls)
        for tap in tl.static_range(9):
            dy = tap // 3 - 1
            dx = tap % 3 - 1
            on_grid = (row + dy >= 0) & (row + dy < HEIGHT) & (column + dx >= 0) & (column + dx < WIDTH)
            seen = exists & tl.where(is_cls, tap == 4, on_grid)  # [CLS] sees itself alone
            near = rows + dy * WIDTH + dx
            mean = tl.load(statistics + near, mask=seen, other=0.0)
            scale = tl.load(statistics + total + near, mask=seen, other=0.0)
            values = tl.load(
                x + near[:, None] * C + channels[None, :], mask=seen[:, None] & known[None, :], other=0.0
            ).to(tl.float32)
            y = (values * scale[:, None] - (mean * scale)[:, None]) * gain[None, :]
            y += tl.where(seen[:, None], shift[None, :], 0.0)
            q_in += y * _tap_weight(conv_weight + tap * C, channels, known, is_cls, CENTRE=tap == 4)
            k_in += y * _tap_weight(conv_weight + (9 + tap) * C, channels, known, is_cls, CENTRE=tap == 4)
            v_in += y * _tap_weight(conv_weight + (18 + tap) * C, channels, known, is_cls, CENTRE=tap == 4)
        weight = proj_weight + out_channels[:, None] * C + channels[None, :]
        weight_mask = (out_channels[:, None] < C) & known[None, :]
        q = _project(q_in, weight, weight_mask, q)
        k = _project(k_in, weight + C * C, weight_mask, k)
        v = _project(v_in, weight + 2 * C * C, weight_mask, v)
    out += first * C + rows[:, None] * C + out_channels[None, :]
    mask = exists[:, None] & (out_channels[None, :] < C)
    size = tl.cast(total, tl.int64) * C  # of one row in all it is a constant, which has no .to
    _store(out, q, proj_scale, proj_bias, out_channels, mask, 0, C)
    _store(out + size, k, proj_scale, proj_bias, out_channels, mask, 1, C)
    _store(out + 2 * size, v, proj_scale, proj_bias, out_channels, mask, 2, C)


@triton.jit
def _conv_bias(bias, channels, known, is_cls):
    """[M, channels]: what a convolution starts from; nothing for [CLS]."""
    value = tl.load(bias + channels, mask=known, other=0.0).to(tl.float32)
    return tl.where(is_cls[:, None], 0.0, value[None, :])


@triton.jit
def _tap_weight(weight, channels, known, is_cls, CENTRE: tl.constexpr):
    """One tap's weights of the channels; [CLS] passes its centre unchanged."""
    value = tl.load(weight + channels, mask=known, other=0.0).to(tl.float32)[None, :]
    if CENTRE:
        value = tl.where(is_cls[:, None], 1.0, value)
    return value


@triton.jit
def _project(conv, weight, mask, acc):
    """acc + conv @ weight^T for the channels of a step."""
    return product(conv, tl.load(weight, mask=mask, other=0.0), acc)


@triton.jit
def _store(out, acc, scale, bias, channels, mask, WHICH: tl.constexpr, C: tl.constexpr):
    """One of q, k and v."""
    value = layer_sum(acc, scale, bias, WHICH * C + channels, channels < C)
    tl.store(out, value.to(out.dtype.element_ty), mask=mask)
