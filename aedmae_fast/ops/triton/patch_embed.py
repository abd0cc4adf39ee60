"""patch_embed in Triton: gathers the visible patches' bytes, multiplies and normalises in one kernel.

Counted per frame, V visible tokens, patch d, C channels: 9 d^2 V bytes of pixels (Avenue, V = 400, d = 16: 0.9 MB,
of which two thirds were read for neighbouring windows a moment before), 2 V C written (0.2 MB in bfloat16),
18 d^2 V C operations (0.47 GFLOP). The weights (1.2 MB at d = 16) are read from the second-level cache once a program.

A row of a patch is 3 d contiguous bytes; a step takes a power of two of the 3 d^2 bytes of one patch of one frame.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.parameters import EPS
from aedmae_fast.ops.triton.launch import PRECISION, Table, launch, power_of_2
from aedmae_fast.ops.triton.norm import row_statistics

__all__ = ["patch_embed"]

LAUNCH: Table = {  # BLOCK_K at most
    # One stage: with two, Hopper's products are still reading patches from registers that the next step fills
    # (triton#9433; tests/ops/triton_gates.py counts such products).
    torch.bfloat16: {"BLOCK_M": 64, "BLOCK_K": 64, "num_warps": 8, "num_stages": 1},
    torch.float32: {"BLOCK_M": 64, "BLOCK_K": 32, "num_warps": 8, "num_stages": 2},
}


def patch_embed(
    frames: Tensor,
    windows: Tensor,
    ids_keep: Tensor,
    weight: Tensor,
    bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    patch: int,
) -> Tensor:
    """:func:`aedmae_fast.ops.patch_embed` of tensors on one device."""
    frames, windows, ids_keep, weight, bias, norm_weight, norm_bias = (
        x.contiguous() for x in (frames, windows, ids_keep, weight, bias, norm_weight, norm_bias)
    )
    _, h, w, _ = frames.shape
    b, visible = ids_keep.shape
    c = len(weight)
    out = weight.new_empty((b, visible, c))
    most = LAUNCH[weight.dtype]
    step = max(16, math.gcd(3 * patch * patch, most["BLOCK_K"]))  # of a patch in one frame: none is padded
    launch(
        _kernel,
        triton.cdiv(b * visible, most["BLOCK_M"]),
        *(frames, windows, ids_keep, weight, bias, norm_weight, norm_bias, out, b * visible),
        V=visible,
        D=patch,
        COLUMNS=w // patch,
        FRAME=h * w * 3,
        C=c,
        EPS=EPS,
        BLOCK_C=power_of_2(c),
        **{**most, "BLOCK_K": step},
    )
    return out


@triton.jit
def _kernel(
    frames,  # uint8 [T, H, W, 3]
    windows,  # int64 [B, 3]
    ids_keep,  # int64 [rows], rows = B * V
    weight,  # [C, 3 * 3 * D * D]: out; frame, row, column, colour
    bias,  # [C]
    norm_weight,  # [C]
    norm_bias,  # [C]
    out,  # [rows, C]
    total,  # rows
    V: tl.constexpr,  # visible tokens of a window
    D: tl.constexpr,  # side of the patches
    COLUMNS: tl.constexpr,  # patches in a row of them
    FRAME: tl.constexpr,  # bytes of a frame
    C: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_M: tl.constexpr,  # rows of this program
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,  # bytes of a step
):
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    exists = rows < total
    channels = tl.arange(0, BLOCK_C)
    known = channels < C
    window = windows + rows // V * 3
    before = tl.load(window, mask=exists, other=0)
    middle = tl.load(window + 1, mask=exists, other=0)
    after = tl.load(window + 2, mask=exists, other=0)
    token = tl.load(ids_keep + rows, mask=exists, other=0).to(tl.int32)
    corner = token // COLUMNS * (COLUMNS * D * D * 3) + token % COLUMNS * (D * 3)  # its first byte in a frame

    BYTES: tl.constexpr = 3 * D * D  # of a patch in a frame
    STEPS: tl.constexpr = (BYTES + BLOCK_K - 1) // BLOCK_K
    acc = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    for step in range(3 * STEPS):
        index = step // STEPS  # frame of the window
        frame = tl.where(index == 0, before, tl.where(index == 1, middle, after))
        places = step % STEPS * BLOCK_K + tl.arange(0, BLOCK_K)
        exist = places < BYTES
        within = places // (3 * D) * (COLUMNS * D * 3) + places % (3 * D)
        pixels = tl.load(
            frames + (frame * FRAME + corner)[:, None] + within[None, :],
            mask=exists[:, None] & exist[None, :],
            other=0,
        ).to(tl.float32)  # [BLOCK_M, BLOCK_K]
        block = tl.load(
            weight + channels[:, None] * (3 * BYTES) + (index * BYTES + places)[None, :],
            mask=known[:, None] & exist[None, :],
            other=0.0,
        )  # [BLOCK_C, BLOCK_K]
        acc = tl.dot(pixels.to(block.dtype), tl.trans(block), acc, input_precision=PRECISION)
    acc += tl.load(bias + channels, mask=known, other=0.0).to(tl.float32)[None, :]

    mean, scale = row_statistics(acc, channels, C, EPS)
    gain = tl.load(norm_weight + channels, mask=known, other=0.0).to(tl.float32)
    shift = tl.load(norm_bias + channels, mask=known, other=0.0).to(tl.float32)
    y = (acc - mean[:, None]) * scale[:, None] * gain[None, :] + shift[None, :]
    tl.store(
        out + rows[:, None] * C + channels[None, :],
        y.to(out.dtype.element_ty),
        mask=exists[:, None] & known[None, :],
    )
