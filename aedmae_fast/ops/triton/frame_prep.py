"""frame_prep in Triton: whole numbers throughout, so the same bits as every other version.

Counted per frame: every byte of the planes that a result reads, once, and 3 h w bytes (or twice as many) written; 1080p
to 320 x 640 at most 3.7 MB, 1.1 us of an H100 at 3.35 TB/s. About 150 integer operations a pixel of the result.

A program takes a block of one frame's results. Each needs four source pixels, and each of these up to four samples of
either chroma plane; neighbours need the same ones, which come from the first-level cache. Nothing between the planes
and the result touches memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.frame_prep import coefficients
from aedmae_fast.ops.triton.launch import launch

__all__ = ["frame_prep"]

BLOCK_PIXELS = 256


def frame_prep(
    planes: Sequence[Tensor],
    height: int,
    width: int,
    matrix: str = "bt601",
    full_range: bool = False,
    dtype: torch.dtype = torch.uint8,
) -> Tensor:
    """:func:`aedmae_fast.ops.frame_prep` of tensors on any one device."""
    first, chroma = planes[0], planes[-1]
    bgr = first.dim() == 4
    three = first.unbind(-1) if bgr else (first, *planes[1:]) if len(planes) == 3 else (first,) * 3
    count, rows, columns = first.shape[:3]
    out = torch.empty((count, height, width, 3), dtype=dtype, device=first.device)
    blocks = triton.cdiv(height * width, BLOCK_PIXELS)
    launch(
        _kernel,
        count * blocks,
        *three,
        out,
        *(stride for plane in three for stride in plane.stride()),
        *(rows, columns, *chroma.shape[1:3]),
        *coefficients(matrix, full_range),
        BGR=bgr,
        CHROMA=len(planes) == 3,
        SUB_Y=1 + (chroma.shape[1] != rows),
        SUB_X=1 + (chroma.shape[2] != columns),
        OUT_H=height,
        OUT_W=width,
        BLOCKS=blocks,
        BLOCK=BLOCK_PIXELS,
        num_warps=4,
    )
    return out


@triton.jit
def _kernel(
    plane0,  # uint8 [T, height, width]: Y or B
    plane1,  # uint8 [T, chroma_height, chroma_width]: U; or G [T, height, width]; not read where the source is grey
    plane2,  # the same of V; or R
    out,  # uint8 or bfloat16 [T, OUT_H, OUT_W, 3]
    frame0,  # bytes from a frame, a row, a pixel of plane0 to the next
    row0,
    pixel0,
    frame1,
    row1,
    pixel1,
    frame2,
    row2,
    pixel2,
    height,
    width,
    chroma_height,
    chroma_width,
    y_offset,  # of luma
    cy,  # Q13 coefficients
    crv,
    cgu,
    cgv,
    cbu,
    BGR: tl.constexpr,  # the planes are colours already
    CHROMA: tl.constexpr,  # plane1 and plane2 are U and V
    SUB_Y: tl.constexpr,  # chroma sub-sampling, 1 or 2
    SUB_X: tl.constexpr,
    OUT_H: tl.constexpr,
    OUT_W: tl.constexpr,
    BLOCKS: tl.constexpr,  # programs for a frame
    BLOCK: tl.constexpr,
):
    t = (tl.program_id(0) // BLOCKS).to(tl.int64)
    at = tl.program_id(0) % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    mask = at < OUT_H * OUT_W
    top, bottom, below = _taps(at // OUT_W, height, OUT_H)
    left, right, aside = _taps(at % OUT_W, width, OUT_W)
    plane0 += t * frame0
    plane1 += t * frame1
    plane2 += t * frame2
    b = tl.zeros([BLOCK], tl.int32)
    g = tl.zeros([BLOCK], tl.int32)
    r = tl.zeros([BLOCK], tl.int32)
    for j in tl.static_range(2):
        y = bottom if j else top
        row_b = tl.zeros([BLOCK], tl.int32)
        row_g = tl.zeros([BLOCK], tl.int32)
        row_r = tl.zeros([BLOCK], tl.int32)
        for i in tl.static_range(2):
            x = right if i else left
            first = _sample(plane0, y, x, row0, pixel0, mask)
            if BGR:
                blue = first
                green = _sample(plane1, y, x, row1, pixel1, mask)
                red = _sample(plane2, y, x, row2, pixel2, mask)
            else:
                luma = cy * 16 * (first - y_offset) + 65536
                blue = luma
                green = luma
                red = luma
                if CHROMA:
                    u = _chroma(plane1, y, x, row1, pixel1, chroma_height, chroma_width, SUB_Y, SUB_X, mask)
                    v = _chroma(plane2, y, x, row2, pixel2, chroma_height, chroma_width, SUB_Y, SUB_X, mask)
                    blue += cbu * u
                    green += cgu * u + cgv * v
                    red += crv * v
                blue = _clip8(blue >> 17)
                green = _clip8(green >> 17)
                red = _clip8(red >> 17)
            share = aside if i else 2048 - aside
            row_b += share * blue
            row_g += share * green
            row_r += share * red
        share = below if j else 2048 - below
        b += share * ((row_b + 8) >> 4)
        g += share * ((row_g + 8) >> 4)
        r += share * ((row_r + 8) >> 4)
    out += (t * (OUT_H * OUT_W) + at) * 3
    _put(out, (b + 131072) >> 18, mask)
    _put(out + 1, (g + 131072) >> 18, mask)
    _put(out + 2, (r + 131072) >> 18, mask)


@triton.jit
def _taps(i, size, out_size: tl.constexpr):
    """Source positions that output i of out_size lies between, and the second one's weight of 2048."""
    offset = (2 * i + 1) * size - out_size
    whole = tl.maximum(offset, 0)
    index = tl.minimum(whole // (2 * out_size), size - 1)
    weight = ((whole - index * (2 * out_size)) * 2048 + out_size) // (2 * out_size)
    weight = tl.where((offset < 0) | (index >= size - 1), 0, weight)
    return index, tl.minimum(index + 1, size - 1), weight


@triton.jit
def _sample(plane, y, x, row, pixel, mask):
    return tl.load(plane + y.to(tl.int64) * row + x.to(tl.int64) * pixel, mask=mask, other=0).to(tl.int32)


@triton.jit
def _chroma(plane, y, x, row, pixel, height, width, SUB_Y: tl.constexpr, SUB_X: tl.constexpr, mask):
    """Chroma at a luma position, 16 times its scale, less 2048."""
    above = _chroma_row(plane, y // SUB_Y, x, row, pixel, width, SUB_X, mask)
    if SUB_Y == 1:
        return 4 * above - 2048
    return 3 * above + _chroma_row(plane, _far(y, height), x, row, pixel, width, SUB_X, mask) - 2048


@triton.jit
def _chroma_row(plane, y, x, row, pixel, width, SUB_X: tl.constexpr, mask):
    """Chroma of one row of samples at a luma column, 4 times its scale."""
    near = _sample(plane, y, x // SUB_X, row, pixel, mask)
    if SUB_X == 1:
        return 4 * near
    return 3 * near + _sample(plane, y, _far(x, width), row, pixel, mask)


@triton.jit
def _far(position, size):
    """The sample that a luma position takes one part of, in a direction sub-sampled by 2."""
    return tl.minimum(tl.maximum(position // 2 + 2 * (position % 2) - 1, 0), size - 1)


@triton.jit
def _clip8(x):
    return tl.minimum(tl.maximum(x, 0), 255)


@triton.jit
def _put(out, level, mask):
    if out.dtype.element_ty == tl.uint8:
        tl.store(out, level.to(tl.uint8), mask=mask)
    else:
        tl.store(out, level.to(tl.float32).to(tl.bfloat16), mask=mask)
