"""From the terms of each frame to its score: the filter in time, the pooling, the Gaussian, the stretch to [0, 1]."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.config import Gaussian, ScoringPreset
from aedmae_fast.engine.resident import Rows
from aedmae_fast.engine.ring import MapRing, Window
from aedmae_fast.engine.runner import FrameTerms

Series = NDArray[np.float64]  # one value a frame


class RawScore:
    """The raw scores of one clip's frames, in their order: what to compute for them, and what they come out as.

    Where the preset pools by the mean over a frame, its score follows from its terms. Where it pools by the maximum,
    the frame's map waits for those of its neighbours in time; what is computed of them together is a window of maps.

    Args:
        preset: its ``map_filter`` spans ``map_filter[0] // 2`` frames to either side; with a stride, those of them that
            are scored.
        rows: where the maps are kept.
        maps: keep them where the preset pools by the mean, too: windows of one map then, for whoever wants to see it.

    The class probability is of a whole frame and says nothing of where: Eq. 6 adds it to every pixel, which comes to
    adding its mean over the filter's frames to the maximum, and leaves the map comparable between frames.
    """

    def __init__(self, preset: ScoringPreset, rows: Rows, maps: bool = False) -> None:
        self._preset, self._rows = preset, rows
        self._ring = MapRing(rows, preset.map_filter[0]) if maps or preset.pool == "max" else None
        self._class_probs: deque[tuple[int, float]] = deque()  # by frame, as far back as the filter reaches

    def launch(self, frame: int) -> tuple[list[int], list[Window]]:
        """The next scored frame is computed now: a row for its map, if that is kept, and the windows it completes."""
        if self._ring is None:
            return [], []
        row = self._rows.take()
        return [row], list(self._ring.push(frame, row))

    def finish(self) -> list[Window]:
        """No more frames: the windows of maps at the clip's end."""
        return [] if self._ring is None else list(self._ring.finish())

    def of_terms(self, frame: int, terms: FrameTerms) -> list[float]:
        """Take the terms of the next frame; its score where it follows from them, else nothing yet."""
        p = self._preset
        if p.class_weight and self._ring is not None:
            self._class_probs.append((frame, terms.class_prob))
        if p.pool == "max":
            return []
        raw = p.colour_weight * terms.colour + p.abnormal_weight * terms.abnormal + p.gap_weight * terms.gap
        return [raw + p.class_weight * terms.class_prob if p.class_weight else raw]

    def of_maps(self, window: Window) -> float:
        """What the next frame's score adds to the maximum, or mean, of its map; releases the rows of its window."""
        self._rows.release(window.rows)
        if not self._preset.class_weight:
            return 0.0
        reach = self._preset.map_filter[0] // 2
        while self._class_probs[0][0] < window.frame - reach:
            self._class_probs.popleft()
        near = []
        for frame, prob in self._class_probs:  # those of a whole batch may be there, far beyond the filter's reach
            if frame > window.frame + reach:
                break
            near.append(prob)
        return self._preset.class_weight * sum(near) / len(near)


def fill_gaps(frames: NDArray[np.int64], values: Series, count: int) -> Series:
    """Linear interpolation of values at ``frames`` to all frames 0 .. count-1; the last value is held."""
    if not len(frames):
        return np.full(count, np.nan)
    return np.interp(np.arange(count), frames, values)


def hold(frames: NDArray[np.int64], values: Series, count: int) -> Series:
    """Values at ``frames``, each also for the frames up to the next of them, of all frames 0 .. count-1."""
    if not len(frames):
        return np.full(count, np.nan)
    return values[np.maximum(np.searchsorted(frames, np.arange(count), side="right") - 1, 0)]


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
