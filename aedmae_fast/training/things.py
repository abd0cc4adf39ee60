"""Things that move: cut out of a clip, pasted into another frame at any place, size and speed.

All of it happens at the five frames ``t + OFFSETS`` at once: the three that the network sees and the two whose
difference is the motion gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

OFFSETS = (-3, -1, 0, 1, 3)  # the window's frames, and the gradient's |x_{t-1} - x_{t+1}|
MIDDLE = OFFSETS.index(0)
IN_WINDOW = slice(0, None, 2)  # the window's among them: OFFSETS[IN_WINDOW] == WINDOW
BEFORE, AFTER = OFFSETS.index(-1), OFFSETS.index(1)
FAINT = 0.05  # an edge this transparent is not pasted: it would change pixels by a level or two


@dataclass(frozen=True)
class Thing:
    """Something seen at five frames."""

    crops: Bytes  # [5, h, w, 4] BGR and alpha, edges soft
    path: Floats  # [5, 2] the crops' centre (row, column) in the frame, pixels

    @property
    def centre(self) -> Floats:
        """Where it is in the middle frame, [2]."""
        return self.path[MIDDLE]

    @property
    def velocity(self) -> Floats:
        """Pixels per frame, [2]."""
        return (self.path[-1] - self.path[0]) / (OFFSETS[-1] - OFFSETS[0])


def apart(pixels: NDArray[Any]) -> NDArray[Any]:
    """How far the three channels of pixels lie apart, [..., 3] -> [...]: ``np.ptp`` there, several times as fast."""
    first, second, third = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return np.maximum(np.maximum(first, second), third) - np.minimum(np.minimum(first, second), third)


def straight_path(centre: Floats, velocity: Floats) -> Floats:
    """Positions [5, 2] of something that passes ``centre`` at t with a constant velocity in pixels per frame."""
    return centre + np.array(OFFSETS, np.float32)[:, None] * velocity


def paste(frames: Bytes, thing: Thing, scale: tuple[float, float] = (1.0, 1.0)) -> None:
    """Blend a thing into five frames, in place.

    Args:
        frames: uint8 [5, H, W, 3], at t + OFFSETS.
        scale: magnification (rows, columns) of its crops around their centres.
    """
    crops = thing.crops.astype(np.float32)
    crops[..., 3] /= 255
    crops[..., :3] *= crops[..., 3:]  # premultiplied, or resampling would bleed the colour outside the edge
    tops, rows = _resampling(crops.shape[1], scale[0], thing.path[:, 0])  # [5], [5, n, h]
    lefts, columns = _resampling(crops.shape[2], scale[1], thing.path[:, 1])  # [5], [5, m, w]
    drawn = (rows @ crops.reshape(*crops.shape[:2], -1)).reshape(*rows.shape[:2], -1, 4)  # [5, n, w, 4]
    drawn = columns[:, None] @ drawn  # [5, n, m, 4]
    drawn *= drawn[..., 3:] >= FAINT
    kept = 1 - drawn[..., 3:]  # of what is behind
    (height, width), (n, m) = frames.shape[1:3], drawn.shape[1:3]
    for i, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
        y, x = slice(max(-top, 0), min(height - top, n)), slice(max(-left, 0), min(width - left, m))  # inside the frame
        if y.start < y.stop and x.start < x.stop:
            region = frames[i, top + y.start : top + y.stop, left + x.start : left + x.stop]
            region[:] = np.minimum(region * kept[i, y, x] + drawn[i, y, x, :3] + 0.5, 255)


def _resampling(source: int, scale: float, centres: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Linear resampling of one axis around each of N centres, with antialiasing where it shrinks; zeros outside.

    Returns:
        The first pixel drawn [N], and the weights [N, pixels drawn, source].
    """
    half = (source / 2 + 0.5) * scale
    first = np.floor(centres - half).astype(np.int64)
    drawn = first[:, None] + np.arange(int(np.ceil(2 * half)) + 1)  # [N, n]
    at = (drawn + 0.5 - centres[:, None]) / scale + (source - 1) / 2
    reach = max(1.0, 1 / scale)
    weights = np.clip(1 - np.abs(at[..., None] - np.arange(source)) / reach, 0, None) / reach
    return first, weights.astype(np.float32)
