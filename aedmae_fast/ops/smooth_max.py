"""smooth_max: a 3-D mean filter over maps of consecutive frames, then the maximum over a frame's pixels (Eq. 6).

At the borders, in space and in time, the mean is over the voxels that exist. The filter is separable; in time the maps
of a window are added oldest first, never as a running sum, so that a frame's value has no memory of the frames before
its window. A stream keeps its maps in one tensor and calls the parts, for all frames of a batch at once:
:func:`mean_filter` on the maps that are new, :func:`mean_max` on the windows that are complete.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.triton import cpp_or_triton, with_triton

__all__ = ["mean_filter", "mean_map", "mean_max", "smooth_max"]


def smooth_max(maps: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Filter a whole clip's maps and take each frame's maximum.

    Args:
        maps: float32 [T, H, W].
        size: filter extent in (frames, rows, columns), each odd.

    Returns:
        float32 [T].

    Raises:
        TypeError: ``maps`` is not float32.
        ValueError: ``maps`` has not three dimensions, or an extent is not odd.
    """
    if maps.ndim != 3:
        raise ValueError(f"maps: expected [T, H, W], found {tuple(maps.shape)}")
    if len(size) != 3 or any(s < 1 or s % 2 == 0 for s in size):
        raise ValueError(f"size: expected three odd numbers, found {size}")
    if not len(maps):
        return maps.new_empty(0)
    offsets = torch.arange(size[0], device=maps.device) - size[0] // 2
    windows = torch.arange(len(maps), device=maps.device)[:, None] + offsets  # [T, size[0]]
    windows = torch.where(windows < len(maps), windows, -1)
    return mean_max(mean_filter(maps, size[1:]), windows)[0]


def mean_filter(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean over a window around each pixel of each map, of the pixels that exist.

    Args:
        maps: float32 [..., H, W], H and W not 0; maps and rows may be strided.
        size: extent of the window in (rows, columns), both odd.

    Returns:
        float32 [..., H, W], contiguous. A pixel that is not finite affects the windows it lies in and no other.

    Raises:
        TypeError: ``maps`` is not float32.
        ValueError: ``maps`` has fewer than two dimensions or maps without pixels, or an extent is not odd.
    """
    return torch.ops.aedmae.mean_filter(maps, tuple(size))  # of a single number the operator would make two


def mean_filter_reference(maps: Tensor, size: Sequence[int]) -> Tensor:
    """:func:`mean_filter` in plain PyTorch: the executable specification."""
    rows, columns = size
    x = maps.reshape(-1, 1, *maps.shape[-2:])
    x = F.avg_pool2d(x, (rows, 1), stride=1, padding=(rows // 2, 0), count_include_pad=False)
    x = F.avg_pool2d(x, (1, columns), stride=1, padding=(0, columns // 2), count_include_pad=False)
    return x.view(maps.shape)


def mean_max(maps: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over the pixels of the mean of a few maps, and where it is, for N windows of up to F maps each.

    Args:
        maps: float32 [M, H, W], contiguous, none of them 0, H * W below 2^31.
        windows: int64 [N, F], F not 0: which maps, added in the order given; a negative index is no map. On a GPU not
            checked: there an index from M on is undefined.

    Returns:
        The maxima, float32 [N]: NaN where the mean is NaN at any pixel, and for a window without a map. Their pixels,
        int64 [N], row * W + column: the first of those with this value (or NaN), -1 for a window without a map.

    Raises:
        TypeError: a wrong dtype.
        ValueError: a wrong shape, ``maps`` that are not contiguous, or devices that differ.
        IndexError: (CPU) an index from M on.
    """
    return torch.ops.aedmae.mean_max(maps, windows)


def mean_max_reference(maps: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`mean_max` in plain PyTorch: the executable specification."""
    value, pixel = _total(maps, windows).flatten(1).max(1)  # the first of equals
    count = (windows >= 0).sum(1)
    return value / count, torch.where(count > 0, pixel, -1)


def mean_map(maps: Tensor, windows: Tensor) -> Tensor:
    """Mean of a few maps, for N windows: what :func:`mean_max` takes the maximum of.

    Args:
        maps, windows: as :func:`mean_max` takes them.

    Returns:
        float32 [N, H, W], contiguous; NaN for a window without a map.

    Raises:
        TypeError, ValueError, IndexError: as :func:`mean_max`.
    """
    return torch.ops.aedmae.mean_map(maps, windows)


def mean_map_reference(maps: Tensor, windows: Tensor) -> Tensor:
    """:func:`mean_map` in plain PyTorch: the executable specification."""
    return _total(maps, windows) / (windows >= 0).sum(1)[:, None, None]


def _total(maps: Tensor, windows: Tensor) -> Tensor:  # [N, H, W]
    total = maps.new_zeros((len(windows), *maps.shape[1:]))
    for index in windows.unbind(1):
        some = maps.index_select(0, index.clamp(min=0))
        total = total + torch.where((index >= 0)[:, None, None], some, 0)
    return total


def _check_filter(maps: Tensor, size: Sequence[int]) -> None:
    if maps.dtype != torch.float32:
        raise TypeError(f"maps: expected float32, found {maps.dtype}")
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise ValueError(f"maps: expected [..., H, W] with pixels, found {tuple(maps.shape)}")
    if len(size) != 2 or any(s < 1 or s % 2 == 0 for s in size):
        raise ValueError(f"size: expected two odd numbers, found {tuple(size)}")


def _check_windows(maps: Tensor, windows: Tensor) -> None:
    if maps.dtype != torch.float32:
        raise TypeError(f"maps: expected float32, found {maps.dtype}")
    if windows.dtype != torch.int64:
        raise TypeError(f"windows: expected int64, found {windows.dtype}")
    if maps.ndim != 3 or not maps.numel() or not maps.is_contiguous():
        raise ValueError(f"maps: expected [M, H, W], none of them 0, contiguous, found {tuple(maps.shape)}")
    if windows.ndim != 2 or not windows.shape[1]:
        raise ValueError(f"windows: expected [N, F], F from 1, found {tuple(windows.shape)}")
    if windows.device != maps.device:
        raise ValueError(f"windows: expected on {maps.device} as maps, found on {windows.device}")


def _filter_cpu(maps: Tensor, size: Sequence[int]) -> Tensor:
    images = maps.reshape(-1, *maps.shape[-2:])
    images = images if images.stride(2) == 1 else images.contiguous()
    out = torch.empty_like(images, memory_format=torch.contiguous_format)
    for image, to in zip(images, out, strict=True):
        native.cpu().mean_filter(image.data_ptr(), image.stride(0), tuple(image.shape), tuple(size), to.data_ptr())
    return out.view(maps.shape)


def _max_cpu(maps: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    size, mean_max = maps[0].numel(), native.cpu().mean_max
    found = [mean_max(pointers, size) if pointers else (torch.nan, -1) for pointers in _pointers(maps, windows)]
    values, pixels = zip(*found, strict=True) if found else ((), ())
    return maps.new_tensor(values), windows.new_tensor(pixels)


def _map_cpu(maps: Tensor, windows: Tensor) -> Tensor:
    out = maps.new_full((len(windows), *maps.shape[1:]), torch.nan)
    for mean, pointers in zip(out, _pointers(maps, windows), strict=True):
        if pointers:
            native.cpu().mean_map(pointers, mean.numel(), mean.data_ptr())
    return out


def _pointers(maps: Tensor, windows: Tensor) -> list[list[int]]:
    if windows.numel() and (most := int(windows.max())) >= len(maps):
        raise IndexError(f"windows: expected indices of {len(maps)} maps, found {most}")
    first, step = maps.data_ptr(), maps.stride(0) * maps.itemsize
    return [[first + index * step for index in window if index >= 0] for window in windows.tolist()]


register(
    "mean_filter(Tensor maps, int[2] size) -> Tensor",
    check=_check_filter,
    cpu=_filter_cpu,
    cuda=with_triton("mean_filter", mean_filter_reference, "smooth_max"),
    fake=lambda maps, size: torch.empty_like(maps, memory_format=torch.contiguous_format),
    backends=cpp_or_triton,
)
register(
    "mean_max(Tensor maps, Tensor windows) -> (Tensor, Tensor)",
    check=_check_windows,
    cpu=_max_cpu,
    cuda=with_triton("mean_max", mean_max_reference, "smooth_max"),
    fake=lambda maps, windows: (maps.new_empty(len(windows)), windows.new_empty(len(windows))),
    backends=cpp_or_triton,
)
register(
    "mean_map(Tensor maps, Tensor windows) -> Tensor",
    check=_check_windows,
    cpu=_map_cpu,
    cuda=with_triton("mean_map", mean_map_reference, "smooth_max"),
    fake=lambda maps, windows: maps.new_empty((len(windows), *maps.shape[1:])),
    backends=cpp_or_triton,
)
