"""Scoring a live stream: one frame in, the scores that are due out, with a fixed latency."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aedmae_fast.config import ModelConfig, ScoringPreset
from aedmae_fast.engine.memory import check_fps, checked, in_bgr
from aedmae_fast.engine.postprocess import RawScore, smooth
from aedmae_fast.engine.ring import REACH, FrameRing, Window
from aedmae_fast.engine.runner import Batch, FrameTerms, Maximum, Runner
from aedmae_fast.model.region import Region
from aedmae_fast.ops import frame_prep


class FrameScore(NamedTuple):
    """One frame's score and what it is made of, as in :class:`ClipScores`; the columns of the command's CSV."""

    frame: int  # counted from 0 in the order of pushing
    time_s: float  # seconds from the first frame on, by the stream's rate
    score: float  # final score: smoothed, where the stream does
    raw: float  # before smoothing
    teacher_error: float  # frame mean of the teacher's error, from 0 on
    discrepancy: float  # frame mean of the teacher-student gap, from 0 on
    class_prob: float  # probability of the class head, 0..1; NaN without one
    x: float  # where the raw score comes from: pixels from the left, of the frame as it was pushed
    y: float  # pixels from the top; both NaN where the preset pools by the mean


class FrameStream:
    """Made by :meth:`Scorer.stream`. Scores equal those of the same frames scored as a clip.

    A frame's score is due once its window, the map filter and the temporal Gaussian have seen all that they look at:
    ``latency`` frames after the frame itself. Memory does not grow.
    """

    def __init__(
        self,
        runner: Runner,
        config: ModelConfig,
        preset: ScoringPreset,
        smoothing: bool,
        fps: float,
        order: str,
        region: Region | None = None,
    ) -> None:
        check_fps(fps)
        self._preset, self._fps, self._order = preset, fps, order
        self._size, self._region = (config.height, config.width), region
        maps = preset.map_filter[0] - 1 + REACH if preset.pool == "max" else 0
        self._session = runner.session(2 * REACH + 1, maps)
        self._close = weakref.finalize(self, self._session.close)
        self._ring = FrameRing(self._session.frames)
        self._raw_score = RawScore(preset, self._session.maps)
        self._reach = preset.smooth.taps // 2 if smoothing else 0
        self._terms: dict[int, FrameTerms] = {}  # of frames whose score is not out yet
        self._places: dict[int, Maximum] = {}  # of the same
        self._sizes: deque[tuple[int, int]] = deque()  # of the same: height, width
        self._raw: list[float] = []  # of frames from self._first on
        self._first = 0
        self._due = 0

    @property
    def latency(self) -> int:
        """Frames between a frame and its score: 3 for the window, and the reach of both filters."""
        return REACH + self._preset.map_filter[0] // 2 + self._reach

    def push(self, frame: NDArray[np.uint8] | Tensor) -> list[FrameScore]:
        """Add the next frame, uint8 [H, W, 3], any size; return the scores that are due, mostly none or one.

        Raises:
            RuntimeError: after :meth:`finish`.
            TypeError: ``frame`` is not uint8.
            ValueError: a shape other than [H, W, 3].
        """
        if not self._close.alive:
            raise RuntimeError("push: this stream was finished; Scorer.stream makes another one")
        bgr = in_bgr(checked(frame, self._order, "[H, W, 3]"), self._order)
        frames = frame_prep([bgr[None]], *self._size)
        if self._region is not None:
            self._region.hide(frames)
        windows = self._ring.push(frames)
        self._sizes.append((bgr.shape[0], bgr.shape[1]))
        return self._take(windows, ended=False)

    def finish(self) -> list[FrameScore]:
        """No more frames come: return the scores of those that are left, and free what the stream holds."""
        due = self._take(self._ring.finish(), ended=True)
        self._close()
        return due

    def _take(self, windows: Iterable[Window], ended: bool) -> list[FrameScore]:
        ready = list(windows)
        launched = [self._raw_score.launch(window.frame) for window in ready]
        due = [of_maps for _, complete in launched for of_maps in complete]
        due += self._raw_score.finish() if ended else []
        computed = self._session.submit(Batch(ready, [row for rows, _ in launched for row in rows], due))()
        for window, terms in zip(ready, computed.terms, strict=True):
            self._session.frames.release(window.rows)
            self._terms[window.frame] = terms
            self._raw.extend(self._raw_score.of_terms(window.frame, terms))
        for window, maximum in zip(due, computed.maxima, strict=True):
            self._places[window.frame] = maximum
            self._raw.append(maximum.value + self._raw_score.of_maps(window))
        return list(self._emit(ended))

    def _emit(self, ended: bool) -> Iterator[FrameScore]:
        while self._due + (0 if ended else self._reach) < self._first + len(self._raw):
            around = np.array(self._raw[max(self._due - self._reach - self._first, 0) :][: 2 * self._reach + 1])
            yield self._frame_score(around)
            self._due += 1
            keep_from = max(self._due - self._reach, 0)
            del self._raw[: keep_from - self._first]
            self._first = keep_from

    def _frame_score(self, around: NDArray[np.float64]) -> FrameScore:
        at = self._due - max(self._due - self._reach, 0)  # position of the frame in ``around``
        raw = float(around[at])
        score = float(smooth(around, self._preset.smooth)[at]) if self._reach else raw
        terms, (height, width) = self._terms.pop(self._due), self._sizes.popleft()
        _, x, y = self._places.pop(self._due, Maximum(math.nan, math.nan, math.nan))
        means = (terms.teacher_error, terms.gap, terms.class_prob)
        return FrameScore(self._due, self._due / self._fps, score, raw, *means, x * width, y * height)
