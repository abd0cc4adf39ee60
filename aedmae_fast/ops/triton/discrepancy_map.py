"""discrepancy_map in Triton: both heads, the errors and their sums in one kernel; no prediction reaches memory.

Counted per frame, L tokens, C channels, patch d: 4 L C bytes of hidden states in bfloat16 (Avenue, 800 x 128: 410 kB),
3 d^2 L of pixels (614 kB), 4 d^2 L of map (819 kB), which takes an H100 0.55 us at 3.35 TB/s; 16 d^2 L C operations
(420 MFLOP, 0.42 us at its peak). Stored predictions would be 6.6 MB more in float32, written and read.

A program takes a block of one frame's tokens and walks through the values of a patch: the two products of a step, their
difference and the pixels meet in registers. Sums go to memory per program and are added by a kernel of their own, in a
fixed order: atomic additions would give other bits from run to run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.triton.launch import PRECISION, Table, launch, power_of_2

__all__ = ["discrepancy_map"]

LAUNCH: Table = {
    torch.bfloat16: {"BLOCK_M": 64, "BLOCK_V": 32, "num_warps": 4, "num_stages": 2},
    torch.float32: {"BLOCK_M": 32, "BLOCK_V": 16, "num_warps": 4, "num_stages": 1},
}


def discrepancy_map(
    teacher: Tensor,
    student: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor,
    student_weight: Tensor,
    student_bias: Tensor,
    frames: Tensor,
    patch: int,
    error: str = "L2",
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """:func:`aedmae_fast.ops.discrepancy_map` of tensors on one device."""
    teacher, student = (x if x.stride(2) == 1 else x.contiguous() for x in (teacher, student))
    heads = [x.contiguous() for x in (teacher_weight, teacher_bias, student_weight, student_bias)]
    frames = frames.contiguous()
    b, h, w, _ = frames.shape
    _, tokens, c = teacher.shape
    parameters = LAUNCH[teacher.dtype]
    tiles = triton.cdiv(tokens, parameters["BLOCK_M"])
    maps = teacher.new_empty((b, h, w), dtype=torch.float32)
    sums = teacher.new_empty((b, tiles, 3), dtype=torch.float32)
    means = teacher.new_empty((b, 3), dtype=torch.float32)
    launch(
        _kernel,
        b * tiles,
        *(teacher, student, *heads, frames, maps, sums, *weights),
        *(teacher.stride(0), teacher.stride(1), student.stride(0), student.stride(1)),
        L=tokens,
        C=c,
        D=patch,
        COLUMNS=w // patch,
        TILES=tiles,
        L1=error == "L1",
        BLOCK_C=power_of_2(c),
        **parameters,
    )
    launch(_mean_kernel, b, sums, means, TILES=tiles, PIXELS=h * w, BLOCK=power_of_2(tiles, 1), num_warps=1)
    return maps, means


@triton.jit
def _kernel(
    teacher,  # [B, L, C] with the strides below
    student,
    teacher_weight,  # [4 * D * D, C]
    teacher_bias,  # [4 * D * D]
    student_weight,
    student_bias,
    frames,  # uint8 [B, H, W, 3]
    maps,  # float32 [B, H, W]
    sums,  # float32 [B, TILES, 3]: colour, abnormality, gap
    colour_weight,
    abnormal_weight,
    gap_weight,
    teacher_batch,
    teacher_token,
    student_batch,
    student_token,
    L: tl.constexpr,  # tokens of a frame
    C: tl.constexpr,
    D: tl.constexpr,  # side of the patches
    COLUMNS: tl.constexpr,  # patches in a row of them
    TILES: tl.constexpr,  # programs of a frame
    L1: tl.constexpr,
    BLOCK_M: tl.constexpr,  # tokens of this program
    BLOCK_C: tl.constexpr,
    BLOCK_V: tl.constexpr,  # values of a step; four are a pixel
):
    VALUES: tl.constexpr = 4 * D * D
    WIDTH: tl.constexpr = COLUMNS * D
    batch = (tl.program_id(0) // TILES).to(tl.int64)
    tokens = tl.program_id(0) % TILES * BLOCK_M + tl.arange(0, BLOCK_M)
    channels = tl.arange(0, BLOCK_C)
    mask = (tokens[:, None] < L) & (channels[None, :] < C)
    teacher += batch * teacher_batch
    student += batch * student_batch
    taught = tl.load(teacher + tokens[:, None] * teacher_token + channels[None, :], mask=mask, other=0.0)
    learnt = tl.load(student + tokens[:, None] * student_token + channels[None, :], mask=mask, other=0.0)
    corner = tokens // COLUMNS * (D * WIDTH) + tokens % COLUMNS * D  # a token's first pixel
    frames += batch * (L * D * D * 3)
    maps += batch * (L * D * D)

    errors = tl.zeros([BLOCK_M, BLOCK_V], tl.float32)  # of a value's place in its step: its colour stays the same
    gaps = tl.zeros([BLOCK_M, BLOCK_V], tl.float32)
    for start in range(0, VALUES, BLOCK_V):
        values = start + tl.arange(0, BLOCK_V)
        exists = (tokens[:, None] < L) & (values[None, :] < VALUES)
        predicted = _head(taught, teacher_weight, teacher_bias, values, channels, VALUES, C)  # [BLOCK_M, BLOCK_V]
        distilled = _head(learnt, student_weight, student_bias, values, channels, VALUES, C)
        pixel = values // 4 // D * WIDTH + values // 4 % D  # within a patch
        is_colour = values % 4 < 3
        target = tl.load(
            frames + (corner[:, None] + pixel[None, :]) * 3 + (values % 4)[None, :],
            mask=exists & is_colour[None, :],
            other=0,
        )
        target = (target.to(tl.float32) - 127.5) / 127.5  # 0, where there is no colour, becomes -1: NORMAL
        difference = tl.where(exists, target - predicted, 0.0)
        gap = tl.where(exists, predicted - distilled, 0.0)
        if L1:
            difference = tl.abs(difference)
            gap = tl.abs(gap)
        else:
            difference *= difference
            gap *= gap
        errors += difference
        gaps += gap
        weighted = tl.where(is_colour, colour_weight, abnormal_weight)[None, :] * difference + gap_weight * gap
        pixels = start // 4 + tl.arange(0, BLOCK_V // 4)
        place = pixels // D * WIDTH + pixels % D
        tl.store(
            maps + corner[:, None] + place[None, :],
            tl.sum(tl.reshape(weighted, [BLOCK_M, BLOCK_V // 4, 4]), 2),
            mask=(tokens[:, None] < L) & (pixels[None, :] < D * D),
        )
    of_colour = (tl.arange(0, BLOCK_V) % 4 < 3)[None, :]
    sums += tl.program_id(0).to(tl.int64) * 3
    tl.store(sums, tl.sum(tl.where(of_colour, errors, 0.0)))
    tl.store(sums + 1, tl.sum(tl.where(of_colour, 0.0, errors)))
    tl.store(sums + 2, tl.sum(gaps))


@triton.jit
def _head(states, weight, bias, values, channels, VALUES: tl.constexpr, C: tl.constexpr):
    """float32 [M, values]: some values of a head's prediction."""
    mask = (values[:, None] < VALUES) & (channels[None, :] < C)
    block = tl.load(weight + values[:, None] * C + channels[None, :], mask=mask, other=0.0)
    product = tl.dot(states, tl.trans(block), input_precision=PRECISION)
    return product + tl.load(bias + values, mask=values < VALUES, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _mean_kernel(
    sums,  # float32 [B, TILES, 3]
    means,  # float32 [B, 3]
    TILES: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    batch = tl.program_id(0)
    tiles = tl.arange(0, BLOCK)
    for term in tl.static_range(3):
        parts = tl.load(sums + (batch * TILES + tiles) * 3 + term, mask=tiles < TILES, other=0.0)
        tl.store(means + batch * 3 + term, tl.sum(parts) / PIXELS)
