"""smooth_max: a 3-D mean filter over maps of consecutive frames, then the maximum over a frame's pixels (Eq. 6).

At the borders, in space and in time, the mean is over the voxels that exist. The filter is separable; in time the maps
of a window are added oldest first, never as a running sum, so that a frame's value has no memory of the frames before
its window.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth_max(maps: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Filter a whole clip's maps and take each frame's maximum.

    Args:
        maps: float32 [T, H, W].
        size: filter extent in (frames, rows, columns), each odd.

    Returns:
        float32 [T].

    Raises:
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
    """Mean over a window of ``size`` (rows, columns) around each pixel of float32 [H, W]."""
    rows, columns = size
    x = F.avg_pool2d(image[None], (rows, 1), stride=1, padding=(rows // 2, 0), count_include_pad=False)
    return F.avg_pool2d(x, (1, columns), stride=1, padding=(0, columns // 2), count_include_pad=False)[0]


def mean_max(maps: Sequence[Tensor]) -> Tensor:
    """Maximum of the mean of a few float32 [H, W] maps, added in the order given -> float32 []."""
    return _total(maps).amax() / len(maps)


def mean_map(maps: Sequence[Tensor]) -> Tensor:
    """Mean of a few float32 [H, W] maps, added in the order given: what :func:`mean_max` takes the maximum of."""
    return _total(maps) / len(maps)


def _total(maps: Sequence[Tensor]) -> Tensor:
    total = maps[0]
    for m in maps[1:]:
        total = total + m
    return total
