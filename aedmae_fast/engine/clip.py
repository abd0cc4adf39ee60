"""The state of one clip while it streams through the engine, and its scores when it has ended."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from aedmae_fast.config import ScoringPreset
from aedmae_fast.engine.maps import FrameMap
from aedmae_fast.engine.postprocess import RawScore, Series, fill_gaps, final_score, hold
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.ring import FrameRing, Window
from aedmae_fast.engine.runner import FrameTerms, Maximum, Session
from aedmae_fast.video import Outcome, Status, VideoInfo


class ClipState:
    """Frames in, windows out; results in, scores out. Keeps a few numbers a frame; the rest is in the session.

    A window goes through :meth:`push` or :meth:`end`, :meth:`launch` and :meth:`scored`, those of a clip in order; the
    windows of maps that :meth:`launch` and :meth:`end` give go through :meth:`smoothed`.
    """

    def __init__(self, preset: ScoringPreset, stride: int, smoothing: bool, session: Session, maps: bool) -> None:
        self.info: VideoInfo | None = None
        self._preset, self._smoothing = preset, smoothing
        self._frames = session.frames
        self._ring = FrameRing(session.frames, stride)
        self._raw_score = RawScore(preset, session.maps, maps)
        self._started = time.perf_counter()
        self._times = array("d")
        self._scored = array("q")  # frames that have terms
        self._terms = [array("d") for _ in range(3)]  # teacher error, gap, class probability
        self._raw = array("d")
        self._places = [array("d") for _ in range(2)]  # x and y of the maxima, 0..1
        self._waiting = 0  # windows handed out and not launched yet
        self._outstanding = 0  # windows, of frames and of maps, handed out whose results have not come back
        self._outcome: Outcome | None = None

    def push(self, frames: Tensor, times: list[float]) -> list[Window]:
        """Add decoded frames; the windows that are now complete are owed their terms."""
        self._times.extend(times)
        return self._owe(self._ring.push(frames))

    def end(self, outcome: Outcome) -> tuple[list[Window], list[Window]]:
        """No more frames; the windows at the clip's end, and those of maps where no window is left to launch."""
        self._outcome = outcome
        return self._owe(self._ring.finish()), self._last()

    def launch(self, frame: int) -> tuple[list[int], list[Window]]:
        """The next window is computed now: a row for its map, if kept, and the windows of maps that it completes."""
        self._waiting -= 1
        rows, due = self._raw_score.launch(frame)
        self._outstanding += len(due)
        return rows, due + self._last()

    def _owe(self, windows: Iterator[Window]) -> list[Window]:
        ready = list(windows)
        self._waiting += len(ready)
        self._outstanding += len(ready)
        return ready

    def _last(self) -> list[Window]:
        if self._outcome is None or self._waiting:
            return []
        due = self._raw_score.finish()
        self._outstanding += len(due)
        return due

    def scored(self, window: Window, terms: FrameTerms) -> None:
        """Take the terms of the next window of frames."""
        self._outstanding -= 1
        self._frames.release(window.rows)
        self._scored.append(window.frame)
        for column, value in zip(self._terms, (terms.teacher_error, terms.gap, terms.class_prob), strict=True):
            column.append(value)
        self._raw.extend(self._raw_score.of_terms(window.frame, terms))

    def smoothed(self, window: Window, maximum: Maximum, mean: Tensor | None) -> FrameMap | None:
        """Take what came of the next window of maps; their mean [H, W], where there is one, as the frame's own map."""
        self._outstanding -= 1
        offset = self._raw_score.of_maps(window)
        if self._preset.pool == "max":
            self._raw.append(maximum.value + offset)
            for column, value in zip(self._places, (maximum.x, maximum.y), strict=True):
                column.append(value)
        if mean is None:
            return None
        values = mean.numpy().copy()  # so that who keeps one does not keep its batch
        return FrameMap(window.frame, self._times[window.frame], values, offset)

    @property
    def complete(self) -> bool:
        return self._outcome is not None and self._outstanding == 0

    def result(self, path: Path | None) -> ClipScores:
        """The clip's scores, once it is complete."""
        assert self._outcome is not None
        assert self._outstanding == 0
        frames, count = np.array(self._scored, dtype=np.int64), len(self._times)
        raw, error, gap, prob = (fill_gaps(frames, np.array(v), count) for v in (self._raw, *self._terms))
        score = final_score(raw, self._preset) if self._smoothing else raw
        size = (self.info.width, self.info.height) if self.info else (math.nan, math.nan)
        x, y = (
            hold(frames, np.array(v) * extent, count) if v else np.full(count, np.nan)
            for v, extent in zip(self._places, size, strict=True)
        )
        interpolated = np.ones(count, dtype=bool)
        interpolated[frames] = False
        outcome = _not_finite(raw) or self._outcome
        times = np.array(self._times)
        seconds = time.perf_counter() - self._started
        series = (times, score, raw, error, gap, prob, x, y)
        of_outcome = outcome.passing, self._outcome.seekable
        return ClipScores(path, outcome.status, outcome.reason, self.info, *series, interpolated, seconds, *of_outcome)


def _not_finite(raw: Series) -> Outcome | None:
    bad = np.flatnonzero(~np.isfinite(raw))
    if not len(bad):
        return None
    others = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
    value = "NaN" if math.isnan(raw[bad[0]]) else "infinite"
    return Outcome(Status.FAILED, f"the score of frame {bad[0]}{others} is {value}; try --precision fp32")
