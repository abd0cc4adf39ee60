"""The parts of smooth_max, of one frame, for a filter of 9x9x9, against OpenCV's box filter."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch

from aedmae_fast.ops import mean_filter, mean_map, mean_max
from aedmae_fast.ops.smooth_max import mean_filter_reference, mean_map_reference, mean_max_reference
from op_cases.case import SIZES, Case, torch_baselines

EXTENT = 9


def cases(device: str) -> Iterator[Case]:
    for name, (height, width, _) in SIZES.items():
        maps = torch.rand(EXTENT, height, width, generator=torch.Generator().manual_seed(0)).to(device)
        window = torch.arange(EXTENT, device=device)[None]
        plane, size = 4 * height * width, (EXTENT, EXTENT)
        case = f"{name} {height}x{width}"
        filtered = torch_baselines(mean_filter_reference, maps[0], size)
        if device == "cpu":
            filtered["opencv"] = opencv_filter(maps[0].numpy(), size)
        yield Case("mean_filter", case, lambda m=maps, s=size: mean_filter(m[0], s), 2 * plane, filtered, atol=1e-5)
        yield Case(
            "mean_max",
            f"{case} x {EXTENT}",
            lambda m=maps, w=window: mean_max(m, w),
            EXTENT * plane,
            torch_baselines(mean_max_reference, maps, window),
            atol=1e-6,
        )
        yield Case(
            "mean_map",
            f"{case} x {EXTENT}",
            lambda m=maps, w=window: mean_map(m, w),
            (EXTENT + 1) * plane,
            torch_baselines(mean_map_reference, maps, window),
            atol=1e-6,
        )


def opencv_filter(image: np.ndarray, size: tuple[int, int]):  # type: ignore[no-untyped-def]
    """Sums over the pixels that exist, times the reciprocal of their number, which is computed beforehand."""

    def sums(x: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(x, -1, size[::-1], normalize=False, borderType=cv2.BORDER_CONSTANT)

    share = 1 / sums(np.ones_like(image))
    return lambda: sums(image) * share
