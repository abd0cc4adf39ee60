"""The parts of smooth_max in Triton: mean_filter, mean_map and mean_max, each for all frames of a batch at once.

Counted per frame of H W pixels: the spatial filter reads and writes 4 H W bytes each (320 x 640: 1.6 MB, 0.49 us of an
H100 at 3.35 TB/s); the mean over a window of F maps reads 4 F H W, all but one map of it for the second time and, where
windows follow each other, from the second-level cache.

A program filters whole rows of a map: it adds over rows, leaves that in the result's place, and once all of its threads
are there adds over columns what its neighbours left. What it leaves has not reached memory by then.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from aedmae_fast.ops.triton.launch import launch, power_of_2

__all__ = ["mean_filter", "mean_map", "mean_max"]

BLOCK_ROWS = 2
BLOCK_PIXELS = 1024


def mean_filter(maps: Tensor, size: Sequence[int]) -> Tensor:
    """:func:`aedmae_fast.ops.mean_filter` on any one device."""
    maps = maps.contiguous()
    h, w = maps.shape[-2:]
    out = torch.empty_like(maps)
    tiles = triton.cdiv(h, BLOCK_ROWS)
    launch(
        _filter_kernel,
        maps.shape[:-2].numel() * tiles,
        *(maps, out),
        H=h,
        W=w,
        TILES=tiles,
        ABOVE=size[0] // 2,
        ASIDE=size[1] // 2,
        BLOCK_H=BLOCK_ROWS,
        BLOCK_W=power_of_2(w),
        num_warps=4,
    )
    return out


def mean_map(maps: Tensor, windows: Tensor) -> Tensor:
    """:func:`aedmae_fast.ops.mean_map` of tensors on one device."""
    out = maps.new_empty((len(windows), *maps.shape[1:]))
    _launch_windows(maps, windows, out, out, maximum=False)
    return out


def mean_max(maps: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`aedmae_fast.ops.mean_max` of tensors on one device."""
    n, blocks = len(windows), triton.cdiv(maps.shape[1:].numel(), BLOCK_PIXELS)
    parts, places = maps.new_empty((n, blocks)), windows.new_empty((n, blocks))
    values, pixels = maps.new_empty(n), windows.new_empty(n)
    windows = windows.contiguous()
    _launch_windows(maps, windows, parts, places, maximum=True)
    launch(
        _max_kernel,
        n,
        *(parts, places, windows, values, pixels),
        EXTENT=windows.shape[1],
        EXTENT_BLOCK=power_of_2(windows.shape[1]),
        COUNT=blocks,
        BLOCK=power_of_2(blocks),
        num_warps=4,
    )
    return values, pixels


def _launch_windows(maps: Tensor, windows: Tensor, out: Tensor, places: Tensor, maximum: bool) -> None:
    pixels = maps.shape[1:].numel()
    blocks = triton.cdiv(pixels, BLOCK_PIXELS)
    launch(
        _window_kernel,
        len(windows) * blocks,
        *(maps, windows.contiguous(), out, places, len(windows)),
        EXTENT=windows.shape[1],
        EXTENT_BLOCK=power_of_2(windows.shape[1]),
        PIXELS=pixels,
        BLOCKS=blocks,
        BLOCK=BLOCK_PIXELS,
        MAXIMUM=maximum,
        num_warps=4,
    )


@triton.jit
def _filter_kernel(
    image,  # float32 [maps, H, W]
    out,  # float32 [maps, H, W]
    H: tl.constexpr,
    W: tl.constexpr,
    TILES: tl.constexpr,  # programs of a map
    ABOVE: tl.constexpr,  # rows of the window above and below its pixel
    ASIDE: tl.constexpr,  # columns on either side
    BLOCK_H: tl.constexpr,  # rows of this program
    BLOCK_W: tl.constexpr,
):
    start = (tl.program_id(0) // TILES).to(tl.int64) * (H * W)
    image += start
    out += start
    rows = tl.program_id(0) % TILES * BLOCK_H + tl.arange(0, BLOCK_H)[:, None]
    columns = tl.arange(0, BLOCK_W)[None, :]
    mask = (rows < H) & (columns < W)
    total = tl.zeros([BLOCK_H, BLOCK_W], tl.float32)
    for dy in tl.static_range(-ABOVE, ABOVE + 1):
        inside = mask & (rows + dy >= 0) & (rows + dy < H)
        total += tl.load(image + (rows + dy) * W + columns, mask=inside, other=0.0)
    count = tl.minimum(rows + ABOVE, H - 1) - tl.maximum(rows - ABOVE, 0) + 1
    tl.store(out + rows * W + columns, total / count.to(tl.float32), mask=mask)
    tl.debug_barrier()  # a thread reads what others wrote
    total = tl.zeros([BLOCK_H, BLOCK_W], tl.float32)
    for dx in tl.static_range(-ASIDE, ASIDE + 1):
        inside = mask & (columns + dx >= 0) & (columns + dx < W)
        total += tl.load(out + rows * W + columns + dx, mask=inside, other=0.0)
    count = tl.minimum(columns + ASIDE, W - 1) - tl.maximum(columns - ASIDE, 0) + 1
    tl.debug_barrier()  # and writes where others read
    tl.store(out + rows * W + columns, total / count.to(tl.float32), mask=mask)


@triton.jit(do_not_specialize=["count"])  # another in every batch: it would be compiled anew
def _window_kernel(
    maps,  # float32 [M, PIXELS]
    windows,  # int64 [N, EXTENT]: maps, -1 for none
    out,  # float32 [N, PIXELS]: the means; or [N, BLOCKS]: the greatest sum of each block
    places,  # int64 [N, BLOCKS]: where that is
    count,  # N
    EXTENT: tl.constexpr,
    EXTENT_BLOCK: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
    MAXIMUM: tl.constexpr,
):
    n = (tl.program_id(0) % count).to(tl.int64)  # programs that share maps run side by side
    block = tl.program_id(0) // count
    pixels = block * BLOCK + tl.arange(0, BLOCK)
    mask = pixels < PIXELS
    total = tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(EXTENT):
        index = tl.load(windows + n * EXTENT + i)
        total += tl.load(maps + index * PIXELS + pixels, mask=mask & (index >= 0), other=0.0)
    if MAXIMUM:
        value, pixel = _first_max(tl.where(mask, total, float("-inf")), pixels)
        tl.store(out + n * BLOCKS + block, value)
        tl.store(places + n * BLOCKS + block, pixel)
    else:
        maps_there = _count(windows + n * EXTENT, EXTENT, EXTENT_BLOCK)
        tl.store(out + n * PIXELS + pixels, total / maps_there.to(tl.float32), mask=mask)


@triton.jit
def _max_kernel(
    parts,  # float32 [N, COUNT]: the greatest sum of each block
    places,  # int64 [N, COUNT]: where that is
    windows,  # int64 [N, EXTENT]
    values,  # float32 [N]: the greatest mean
    pixels,  # int64 [N]: where that is
    EXTENT: tl.constexpr,
    EXTENT_BLOCK: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, BLOCK)
    mask = index < COUNT
    place = tl.load(places + n * COUNT + index, mask=mask, other=2**31 - 1).to(tl.int32)
    value, pixel = _first_max(tl.load(parts + n * COUNT + index, mask=mask, other=float("-inf")), place)
    maps_there = _count(windows + n * EXTENT, EXTENT, EXTENT_BLOCK)
    tl.store(values + n, value / maps_there.to(tl.float32))
    tl.store(pixels + n, tl.where(maps_there > 0, pixel, -1))


@triton.jit
def _count(window, EXTENT: tl.constexpr, EXTENT_BLOCK: tl.constexpr):
    """Maps in a window."""
    places = tl.arange(0, EXTENT_BLOCK)
    every = tl.load(window + places, mask=places < EXTENT, other=-1)
    return tl.sum((every >= 0).to(tl.int32))


@triton.jit
def _first_max(x, place):
    """Greatest value and its least place; NaN and its least place where there is one: hardware's maximum skips it."""
    nan = x != x
    greatest = tl.max(tl.where(nan, float("-inf"), x))
    has_nan = tl.max(nan.to(tl.int32)) > 0
    here = tl.where(has_nan, nan, x == greatest)
    return tl.where(has_nan, float("nan"), greatest), tl.min(tl.where(here, place, 2**31 - 1))
