"""motion_weights in Triton: each patch's motion in one kernel, its share of the frame's in another.

Counted per frame: 3 H W bytes from memory (320 x 640: 614 kB, 0.18 us of an H100 at 3.35 TB/s; the second neighbour's
were read a frame before and come from the second-level cache) and 8 L bytes of weights. About 8 integer operations a
byte, which take as long as memory: the difference and the maximum over rows are taken on whole vectors of bytes as they
lie, colours mixed, and told apart only in what is left of a patch, one row.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.triton.launch import launch, power_of_2

__all__ = ["motion_weights"]

BLOCK_PATCHES = 8  # 512 bytes of a row at d = 16: 16 for each thread of a warp


def motion_weights(frames: Tensor, patch: int, kind: str = "release") -> Tensor:
    """:func:`aedmae_fast.ops.motion_weights` of a tensor on any one device."""
    frames = frames.contiguous()
    t, h, w, channels = frames.shape
    rows, columns = h // patch, w // patch
    out = frames.new_empty((t, rows * columns), dtype=torch.float32)
    blocks = triton.cdiv(columns, BLOCK_PATCHES)
    launch(
        _motion_kernel,
        t * rows * blocks,
        *(frames, out, t),
        RELEASE=kind == "release",
        D=patch,
        CHANNELS=channels,
        ROWS=rows,
        COLUMNS=columns,
        BLOCKS=blocks,
        BLOCK_P=BLOCK_PATCHES,
        BLOCK_J=power_of_2(patch * channels),
        num_warps=1,
    )
    launch(_share_kernel, t, out, L=rows * columns, BLOCK=power_of_2(rows * columns), num_warps=4)
    return out


@triton.jit
def _motion_kernel(
    frames,  # uint8 [T, ROWS * D, COLUMNS * D, CHANNELS]
    out,  # float32 [T, ROWS * COLUMNS]: mean over the channels of the greatest difference
    count,  # T
    RELEASE: tl.constexpr,  # t-1 and t+1 are compared, not t-1 and t
    D: tl.constexpr,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,  # of patches
    COLUMNS: tl.constexpr,
    BLOCKS: tl.constexpr,  # programs for a row of patches
    BLOCK_P: tl.constexpr,  # patches of this program
    BLOCK_J: tl.constexpr,  # bytes of a patch's row
):
    PITCH: tl.constexpr = COLUMNS * D * CHANNELS  # bytes of a frame's row
    patches = tl.program_id(0) % BLOCKS * BLOCK_P + tl.arange(0, BLOCK_P)
    row = tl.program_id(0) // BLOCKS % ROWS
    t = tl.program_id(0) // (BLOCKS * ROWS)
    before = tl.maximum(t - 1, 0).to(tl.int64) * (ROWS * D * PITCH)
    after = t
    if RELEASE:
        after = tl.minimum(t + 1, count - 1)
    after = after.to(tl.int64) * (ROWS * D * PITCH)
    within = tl.arange(0, BLOCK_J)
    offsets = row * (D * PITCH) + patches[:, None] * (D * CHANNELS) + within[None, :]
    mask = (patches[:, None] < COLUMNS) & (within[None, :] < D * CHANNELS)
    greatest = tl.zeros([BLOCK_P, BLOCK_J], tl.int32)
    for y in range(D):
        a = tl.load(frames + before + y * PITCH + offsets, mask=mask, other=0).to(tl.int32)
        b = tl.load(frames + after + y * PITCH + offsets, mask=mask, other=0).to(tl.int32)
        greatest = tl.maximum(greatest, tl.abs(a - b))
    motion = tl.zeros([BLOCK_P], tl.int32)
    for channel in tl.static_range(CHANNELS):
        motion += tl.max(tl.where((within % CHANNELS == channel)[None, :], greatest, 0), 1)
    out += (t.to(tl.int64) * ROWS + row) * COLUMNS
    tl.store(out + patches, motion.to(tl.float32) / CHANNELS, mask=patches < COLUMNS)


@triton.jit
def _share_kernel(
    weights,  # float32 [T, L], in place
    L: tl.constexpr,
    BLOCK: tl.constexpr,
):
    tokens = tl.arange(0, BLOCK)
    weights += tl.program_id(0).to(tl.int64) * L
    motion = tl.load(weights + tokens, mask=tokens < L, other=0.0)
    total = tl.sum(motion)
    share = tl.where(total > 0, motion / tl.where(total > 0, total, 1.0), 1.0 / L)
    tl.store(weights + tokens, share, mask=tokens < L)
