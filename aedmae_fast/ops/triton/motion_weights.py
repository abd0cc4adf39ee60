"""motion_weights in Triton, and its halves: each patch's motion in one kernel, its share of the frame's in another.

Counted per frame: 3 H W bytes from memory (320 x 640: 614 kB, 0.18 us of an H100 at 3.35 TB/s; the second neighbour's
were read a frame before and come from the second-level cache) and 8 L bytes of weights. About 8 integer operations a
byte, which take as long as memory: the difference and the maximum over rows are taken on whole vectors of bytes as they
lie, colours mixed, and told apart only in what is left of a patch, one row. motion_gradient by itself writes as many
bytes as it reads.

An anomaly map adds its strength, which is at least any gradient of the frame: the peak of a patch with an anomaly is
the strength plus the peak beneath it. The first kernel leaves the sum u of these as -1 - u, the second adds the
strength, which it finds in the greatest bytes of all patches. All of it is whole numbers, exact in float32, up to the
division.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.motion_gradient import SPANS
from aedmae_fast.ops.triton.launch import launch, power_of_2

__all__ = ["motion_gradient", "motion_weights", "patch_weights"]

BLOCK_PATCHES = 8  # 512 bytes of a row at d = 16: 16 for each thread of a warp
BLOCK_BYTES = 4096  # 32 for each thread


def motion_gradient(frames: Tensor, kind: str = "release") -> Tensor:
    """:func:`aedmae_fast.ops.motion_gradient` of a tensor on any one device."""
    frames = frames.contiguous()
    out = torch.empty_like(frames)
    count, size = frames.shape[0], frames.shape[1:].numel()
    blocks = triton.cdiv(size, BLOCK_BYTES)
    launch(
        _gradient_kernel,
        count * blocks,
        *(frames, out, count),
        SPAN=SPANS[kind],
        SIZE=size,
        BLOCKS=blocks,
        BLOCK=BLOCK_BYTES,
        num_warps=4,
    )
    return out


def motion_weights(frames: Tensor, patch: int, kind: str = "release") -> Tensor:
    """:func:`aedmae_fast.ops.motion_weights` of a tensor on any one device."""
    return _weights(frames.contiguous(), patch, SPANS[kind], None)


def patch_weights(gradient: Tensor, patch: int, anomaly_map: Tensor | None = None) -> Tensor:
    """:func:`aedmae_fast.ops.patch_weights` of tensors on any one device."""
    return _weights(gradient.contiguous(), patch, 0, None if anomaly_map is None else anomaly_map.contiguous())


def _weights(frames: Tensor, patch: int, span: int, anomaly_map: Tensor | None) -> Tensor:
    """Weights from the differences of frames ``span`` apart; span 0: from the frames themselves."""
    t, h, w, channels = frames.shape
    rows, columns = h // patch, w // patch
    tokens = rows * columns
    out = frames.new_empty((t, tokens), dtype=torch.float32)
    peaks = None if anomaly_map is None else frames.new_empty((t, tokens))
    blocks = triton.cdiv(columns, BLOCK_PATCHES)
    launch(
        _motion_kernel,
        t * rows * blocks,
        *(frames, anomaly_map, peaks, out, t),
        SPAN=span,
        D=patch,
        CHANNELS=channels,
        ROWS=rows,
        COLUMNS=columns,
        BLOCKS=blocks,
        BLOCK_P=BLOCK_PATCHES,
        BLOCK_J=power_of_2(patch * channels),
        num_warps=1,
    )
    launch(_share_kernel, t, out, peaks, L=tokens, CHANNELS=channels, BLOCK=power_of_2(tokens), num_warps=4)
    return out


@triton.jit(do_not_specialize=["count"])  # another in every batch: it would be compiled anew
def _gradient_kernel(
    frames,  # uint8 [T, SIZE]
    out,  # uint8 [T, SIZE]
    count,  # T
    SPAN: tl.constexpr,  # 1: t-1 and t are compared; 2: t-1 and t+1
    SIZE: tl.constexpr,
    BLOCKS: tl.constexpr,  # programs for a frame
    BLOCK: tl.constexpr,
):
    t = tl.program_id(0) // BLOCKS
    at = tl.program_id(0) % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    after = t
    if SPAN == 2:
        after = tl.minimum(t + 1, count - 1)
    a = tl.load(frames + tl.maximum(t - 1, 0).to(tl.int64) * SIZE + at, mask=at < SIZE, other=0).to(tl.int32)
    b = tl.load(frames + after.to(tl.int64) * SIZE + at, mask=at < SIZE, other=0).to(tl.int32)
    tl.store(out + t.to(tl.int64) * SIZE + at, tl.abs(a - b).to(tl.uint8), mask=at < SIZE)


@triton.jit(do_not_specialize=["count"])
def _motion_kernel(
    frames,  # uint8 [T, ROWS * D, COLUMNS * D, CHANNELS]
    anomaly,  # uint8 [T, ROWS * D, COLUMNS * D], above 0 is abnormal; or None
    peaks,  # uint8 [T, ROWS * COLUMNS]: the greatest difference; None where `anomaly` is
    out,  # float32 [T, ROWS * COLUMNS]: the greatest difference of each channel, summed; with an anomaly -1 - u
    count,  # T
    SPAN: tl.constexpr,  # 0: frames are gradients; 1: t-1 and t are compared; 2: t-1 and t+1
    D: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,  # of patches
    COLUMNS: tl.constexpr,
    BLOCKS: tl.constexpr,  # programs for a row of patches
    BLOCK_P: tl.constexpr,  # patches of this program
    BLOCK_J: tl.constexpr,  # bytes of a patch's row
):
    WIDTH: tl.constexpr = COLUMNS * D
    PITCH: tl.constexpr = WIDTH * CHANNELS  # bytes of a frame's row
    patches = tl.program_id(0) % BLOCKS * BLOCK_P + tl.arange(0, BLOCK_P)
    row = tl.program_id(0) // BLOCKS % ROWS
    t = tl.program_id(0) // (BLOCKS * ROWS)
    before = t
    after = t
    if SPAN > 0:
        before = tl.maximum(t - 1, 0)
    if SPAN == 2:
        after = tl.minimum(t + 1, count - 1)
    first = frames + before.to(tl.int64) * (ROWS * D * PITCH)
    second = frames + after.to(tl.int64) * (ROWS * D * PITCH)
    within = tl.arange(0, BLOCK_J)
    offsets = row * (D * PITCH) + patches[:, None] * (D * CHANNELS) + within[None, :]
    mask = (patches[:, None] < COLUMNS) & (within[None, :] < D * CHANNELS)
    greatest = tl.zeros([BLOCK_P, BLOCK_J], tl.int32)
    beneath = tl.full([BLOCK_P, BLOCK_J], -1, tl.int32)
    for y in range(D):
        change = tl.load(first + y * PITCH + offsets, mask=mask, other=0).to(tl.int32)
        if SPAN > 0:
            change = tl.abs(change - tl.load(second + y * PITCH + offsets, mask=mask, other=0).to(tl.int32))
        greatest = tl.maximum(greatest, change)
        if anomaly is not None:
            pixels = (row * D + y) * WIDTH + patches[:, None] * D + within[None, :] // CHANNELS
            abnormal = tl.load(anomaly + t.to(tl.int64) * (ROWS * D * WIDTH) + pixels, mask=mask, other=0) > 0
            beneath = tl.maximum(beneath, tl.where(abnormal, change, -1))
    motion = _sum_of_channels(greatest, within, CHANNELS)
    token = (t.to(tl.int64) * ROWS + row) * COLUMNS + patches
    if anomaly is not None:
        motion = tl.where(tl.max(beneath, 1) >= 0, -1 - _sum_of_channels(beneath, within, CHANNELS), motion)
        tl.store(peaks + token, tl.max(greatest, 1).to(tl.uint8), mask=patches < COLUMNS)
    tl.store(out + token, motion.to(tl.float32), mask=patches < COLUMNS)


@triton.jit
def _sum_of_channels(values, within, CHANNELS: tl.constexpr):
    """Of [BLOCK_P, BLOCK_J]: each channel's greatest, 0 at least, summed. [BLOCK_P]"""
    total = tl.zeros([values.shape[0]], tl.int32)
    for channel in tl.static_range(CHANNELS):
        total += tl.max(tl.where((within % CHANNELS == channel)[None, :], values, 0), 1)
    return total


@triton.jit
def _share_kernel(
    weights,  # float32 [T, L], in place
    peaks,  # uint8 [T, L], or None: no anomaly
    L: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    tokens = tl.arange(0, BLOCK)
    start = tl.program_id(0).to(tl.int64) * L
    motion = tl.load(weights + start + tokens, mask=tokens < L, other=0.0)
    if peaks is not None:
        greatest = tl.max(tl.load(peaks + start + tokens, mask=tokens < L, other=0).to(tl.int32))
        strength = tl.maximum(greatest, 128) * CHANNELS
        motion = tl.where(motion < 0, strength.to(tl.float32) - motion - 1, motion)
    total = tl.sum(motion)
    share = tl.where(total > 0, motion / tl.where(total > 0, total, 1.0), 1.0 / L)
    tl.store(weights + start + tokens, share, mask=tokens < L)
