"""smooth_max: a 3-D mean filter over maps of consecutive frames, then the maximum over a frame's pixels (Eq. 6).

At the borders, in space and in time, the mean is over the voxels that exist. The filter is separable; in time the maps
of a window are added oldest first, never as a running sum, so that a frame's value has no memory of the frames before
its window. A stream calls the parts: :func:`mean_filter` once a frame, :func:`mean_max` once a window.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from aedmae_fast.ops import native
from aedmae_fast.ops.library import register
from aedmae_fast.ops.triton import triton_backend, with_triton

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
    if any(s < 1 or s % 2 == 0 for s in size):
        raise ValueError(f"size: expected three odd numbers, found {size}")
    reach = size[0] // 2
    smooth = [mean_filter(m, size[1:]) for m in maps]
    values = [mean_max(smooth[max(t - reach, 0) : t + reach + 1]) for t in range(len(smooth))]
    return torch.stack(values) if values else maps.new_empty(0)


def mean_filter(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean over a window around each pixel, of the pixels that exist.

    Args:
        image: float32 [H, W], neither 0; rows may be strided.
        size: extent of the window in (rows, columns), both odd.

    Returns:
        float32 [H, W], contiguous. A pixel that is not finite affects the windows it lies in and no other.

    Raises:
        TypeError: ``image`` is not float32.
        ValueError: ``image`` has not two dimensions or has no pixels, or an extent is not odd.
    """
    if image.dtype != torch.float32:
        raise TypeError(f"image: expected float32, found {image.dtype}")
    if image.ndim != 2 or not image.numel():
        raise ValueError(f"image: expected [H, W] with pixels, found {tuple(image.shape)}")
    if len(size) != 2 or any(s < 1 or s % 2 == 0 for s in size):
        raise ValueError(f"size: expected two odd numbers, found {size}")
    return torch.ops.aedmae.mean_filter(image, size)


def mean_filter_reference(image: Tensor, size: Sequence[int]) -> Tensor:
    """:func:`mean_filter` in plain PyTorch: the executable specification."""
    rows, columns = size
    x = F.avg_pool2d(image[None], (rows, 1), stride=1, padding=(rows // 2, 0), count_include_pad=False)
    return F.avg_pool2d(x, (1, columns), stride=1, padding=(0, columns // 2), count_include_pad=False)[0]


def mean_max(maps: Sequence[Tensor]) -> Tensor:
    """Maximum over the pixels of the mean of a few maps.

    Args:
        maps: one or more float32 [H, W], neither 0, added in the order given.

    Returns:
        float32 []; NaN where the mean is NaN at any pixel.

    Raises:
        TypeError: a map is not float32.
        ValueError: no maps, or shapes or devices that differ.
    """
    _check_maps(maps)
    return torch.ops.aedmae.mean_max(maps)


def mean_max_reference(maps: Sequence[Tensor]) -> Tensor:
    """:func:`mean_max` in plain PyTorch: the executable specification."""
    return _total(maps).amax() / len(maps)


def mean_map(maps: Sequence[Tensor]) -> Tensor:
    """Mean of a few maps: what :func:`mean_max` takes the maximum of.

    Args:
        maps: one or more float32 [H, W], neither 0, added in the order given.

    Returns:
        float32 [H, W], contiguous.

    Raises:
        TypeError: a map is not float32.
        ValueError: no maps, or shapes or devices that differ.
    """
    _check_maps(maps)
    return torch.ops.aedmae.mean_map(maps)


def mean_map_reference(maps: Sequence[Tensor]) -> Tensor:
    """:func:`mean_map` in plain PyTorch: the executable specification."""
    return _total(maps) / len(maps)


def _total(maps: Sequence[Tensor]) -> Tensor:
    total = maps[0]
    for m in maps[1:]:
        total = total + m
    return total


def _check_maps(maps: Sequence[Tensor]) -> None:
    if not len(maps):
        raise ValueError("maps: expected at least one, found none")
    first = maps[0]
    for m in maps:
        if m.dtype != torch.float32:
            raise TypeError(f"maps: expected float32, found {m.dtype}")
        if m.ndim != 2 or not m.numel() or m.shape != first.shape or m.device != first.device:
            found = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in maps)
            raise ValueError(f"maps: expected [H, W] with pixels, of one shape and on one device, found {found}")


def _filter_cpu(image: Tensor, size: Sequence[int]) -> Tensor:
    image = image if image.stride(1) == 1 else image.contiguous()
    out = torch.empty_like(image, memory_format=torch.contiguous_format)
    native.cpu().mean_filter(image.data_ptr(), image.stride(0), tuple(image.shape), tuple(size), out.data_ptr())
    return out


def _max_cpu(maps: Sequence[Tensor]) -> Tensor:
    maps = [m.contiguous() for m in maps]
    out = maps[0].new_empty(())
    native.cpu().mean_max([m.data_ptr() for m in maps], maps[0].numel(), out.data_ptr())
    return out


def _map_cpu(maps: Sequence[Tensor]) -> Tensor:
    maps = [m.contiguous() for m in maps]
    out = torch.empty_like(maps[0])
    native.cpu().mean_map([m.data_ptr() for m in maps], maps[0].numel(), out.data_ptr())
    return out


def _backends() -> dict[str, str]:
    return {"cpu": native.cpu_backend(), "cuda": triton_backend()}


register(
    "mean_filter(Tensor image, int[2] size) -> Tensor",
    cpu=_filter_cpu,
    cuda=with_triton("mean_filter", mean_filter_reference, "smooth_max"),
    fake=lambda image, size: torch.empty_like(image, memory_format=torch.contiguous_format),
    backends=_backends,
)
register(
    "mean_max(Tensor[] maps) -> Tensor",
    cpu=_max_cpu,
    cuda=with_triton("mean_max", mean_max_reference, "smooth_max"),
    fake=lambda maps: maps[0].new_empty(()),
    backends=_backends,
)
register(
    "mean_map(Tensor[] maps) -> Tensor",
    cpu=_map_cpu,
    cuda=with_triton("mean_map", mean_map_reference, "smooth_max"),
    fake=lambda maps: torch.empty_like(maps[0], memory_format=torch.contiguous_format),
    backends=_backends,
)
