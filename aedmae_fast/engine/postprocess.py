"""From the terms of each frame to its score: the filter in time, the pooling, the Gaussian, the stretch to [0, 1]."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aedmae_fast.config import Gaussian, ScoringPreset
from aedmae_fast.engine.runner import FrameTerms
from aedmae_fast.ops import mean_map, mean_max

Series = NDArray[np.float64]  # one value a frame


class RawScore:
    """The raw score of each frame, as a stream: terms go in, scores come out after the filter's reach in time.

    Args:
        preset: its ``map_filter`` spans ``map_filter[0] // 2`` frames to either side; with a stride, those of them that
            are scored.
        on_map: called with each frame's index and its filtered map, float32 [H, W], whose maximum is the raw score; in
            the order of the frames. Never called where the preset pools by the mean.
    """

    def __init__(self, preset: ScoringPreset, on_map: Callable[[int, Tensor], None] | None = None) -> None:
        self._preset = preset
        self._on_map = on_map
        self._reach = preset.map_filter[0] // 2
        self._maps: deque[tuple[int, Tensor]] = deque()  # spatially filtered, by frame
        self._waiting: deque[int] = deque()

    def push(self, frame: int, terms: FrameTerms) -> Iterator[tuple[int, float]]:
        """Add the next scored frame; yield (frame, raw score) of those that are complete."""
        p = self._preset
        if terms.map is None:
            raw = p.colour_weight * terms.colour + p.abnormal_weight * terms.abnormal + p.gap_weight * terms.gap
            yield frame, raw + p.class_weight * terms.class_prob if p.class_weight else raw
            return
        while self._waiting and self._waiting[0] + self._reach < frame:
            yield self._pop()
        self._maps.append((frame, terms.map))
        self._waiting.append(frame)
        while self._waiting and self._waiting[0] + self._reach <= frame:
            yield self._pop()

    def finish(self) -> Iterator[tuple[int, float]]:
        """Yield the frames whose later neighbours do not exist."""
        while self._waiting:
            yield self._pop()

    def _pop(self) -> tuple[int, float]:
        frame = self._waiting.popleft()
        while self._maps[0][0] < frame - self._reach:
            self._maps.popleft()
        near = [m for i, m in self._maps if i <= frame + self._reach]
        if self._on_map:
            self._on_map(frame, mean_map(near))
        return frame, mean_max(near).item()


def fill_gaps(frames: NDArray[np.int64], values: Series, count: int) -> Series:
    """Linear interpolation of values at ``frames`` to all frames 0 .. count-1; the last value is held."""
    if not len(frames):
        return np.full(count, np.nan)
    return np.interp(np.arange(count), frames, values)


def smooth(raw: Series, gaussian: Gaussian) -> Series:
    """Temporal Gaussian of a clip's raw scores, float64 [T] -> [T].

    ``release``: support ``1 .. taps``, centre ``support[taps // 2 - 1]``, unnormalised density, zeros beyond the ends.
    ``centred``: symmetric, a weighted mean over the frames that exist.
    """
    if not len(raw):
        return raw
    support = np.arange(1, gaussian.taps + 1, dtype=np.float64)
    centre = support[gaussian.taps // 2 - (gaussian.kind == "release")]
    kernel = np.exp(-0.5 * ((support - centre) / gaussian.sigma) ** 2) / (gaussian.sigma * np.sqrt(2 * np.pi))
    pad = gaussian.taps // 2
    total = np.correlate(np.pad(raw, pad), kernel, "valid")
    if gaussian.kind == "release":
        return total
    return total / np.correlate(np.pad(np.ones_like(raw), pad), kernel, "valid")


def min_max(score: Series) -> Series:
    """Stretch to [0, 1]; a constant clip becomes 0."""
    if not len(score):
        return score
    low, high = score.min(), score.max()
    return (score - low) / (high - low) if high > low else np.zeros_like(score)


def final_score(raw: Series, preset: ScoringPreset) -> Series:
    """What the preset makes of a clip's raw scores."""
    score = smooth(raw, preset.smooth)
    return min_max(score) if preset.min_max else score
