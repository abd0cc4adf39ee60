"""The state of one clip while it streams through the engine, and its scores when it has ended."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from aedmae_fast.config import ScoringPreset
from aedmae_fast.engine.postprocess import RawScore, Series, fill_gaps, final_score
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.ring import FrameRing, Window
from aedmae_fast.engine.runner import FrameTerms
from aedmae_fast.video import Outcome, Status, VideoInfo


class ClipState:
    """Frames in, windows out; terms in, scores out. Keeps a few numbers a frame, and frames for one window only."""

    def __init__(
        self,
        preset: ScoringPreset,
        stride: int,
        smoothing: bool,
        on_map: Callable[[int, Tensor], None] | None = None,  # see RawScore
    ) -> None:
        self.info: VideoInfo | None = None
        self._preset, self._smoothing = preset, smoothing
        self._ring = FrameRing(stride)
        self._raw_score = RawScore(preset, on_map)
        self._started = time.perf_counter()
        self._times = array("d")
        self._scored = array("q")  # frames that have terms
        self._terms = [array("d") for _ in range(3)]  # teacher error, gap, class probability
        self._raw = array("d")
        self._outstanding = 0  # windows handed out whose terms have not come back
        self._outcome: Outcome | None = None

    def push(self, frames: Tensor, times: list[float]) -> list[Window]:
        """Add decoded frames; the windows that are now complete are owed their terms."""
        self._times.extend(times)
        return self._owe(self._ring.push(frames))

    def end(self, outcome: Outcome) -> list[Window]:
        """No more frames; the windows at the clip's end."""
        self._outcome = outcome
        return self._owe(self._ring.finish())

    def _owe(self, windows: Iterator[Window]) -> list[Window]:
        ready = list(windows)
        self._outstanding += len(ready)
        return ready

    def scored(self, frame: int, terms: FrameTerms) -> None:
        """Take the terms of the next window, in the order in which the windows were handed out."""
        self._outstanding -= 1
        self._scored.append(frame)
        for column, value in zip(self._terms, (terms.teacher_error, terms.gap, terms.class_prob), strict=True):
            column.append(value)
        self._raw.extend(raw for _, raw in self._raw_score.push(frame, terms))

    @property
    def complete(self) -> bool:
        return self._outcome is not None and self._outstanding == 0

    def result(self, path: Path | None) -> ClipScores:
        """The clip's scores, once it is complete."""
        assert self._outcome is not None
        assert self._outstanding == 0
        self._raw.extend(raw for _, raw in self._raw_score.finish())
        frames, count = np.array(self._scored, dtype=np.int64), len(self._times)
        raw, error, gap, prob = (fill_gaps(frames, np.array(v), count) for v in (self._raw, *self._terms))
        score = final_score(raw, self._preset) if self._smoothing else raw
        interpolated = np.ones(count, dtype=bool)
        interpolated[frames] = False
        outcome = _not_finite(raw) or self._outcome
        times = np.array(self._times)
        seconds = time.perf_counter() - self._started
        return ClipScores(
            path, outcome.status, outcome.reason, self.info, times, score, raw, error, gap, prob, interpolated, seconds
        )


def _not_finite(raw: Series) -> Outcome | None:
    bad = np.flatnonzero(~np.isfinite(raw))
    if not len(bad):
        return None
    others = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
    value = "NaN" if math.isnan(raw[bad[0]]) else "infinite"
    return Outcome(Status.FAILED, f"the score of frame {bad[0]}{others} is {value}; try --precision fp32")
