"""What scoring one clip yields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.engine.events import Event, find_events
from aedmae_fast.engine.postprocess import Series
from aedmae_fast.video import Status, VideoInfo


@dataclass(frozen=True)
class ClipScores:
    """Scores of one clip of T frames. Higher is more unusual; the scale is the preset's.

    Errors are those of :func:`aedmae_fast.ops.discrepancy_map`, from 0 on: of pixels from -1 (black) to 1 (white),
    squared where the preset says L2; of the four channels their sum or their mean, as it says.

    A clip that could not be read has T = 0 and a ``status`` and ``reason`` that say why.
    """

    path: Path | None  # None for frames from memory
    status: Status
    reason: str  # one line; empty for ``ok``
    info: VideoInfo | None  # None where the video could not be opened
    time_s: Series  # [T] presentation time in seconds from the first frame on
    score: Series  # [T] final score: smoothed, and stretched where the preset says so
    raw: Series  # [T] before smoothing
    teacher_error: Series  # [T] frame mean of the teacher's error
    discrepancy: Series  # [T] frame mean of the teacher-student gap
    class_prob: Series  # [T] probability of the class head, 0..1; NaN without one
    x: Series  # [T] where in the frame the raw score comes from: pixels from the left, the right way up
    y: Series  # [T] pixels from the top; both NaN where the preset pools by the mean over the frame
    interpolated: NDArray[np.bool_]  # [T] frames between the scored ones, where a stride was asked for
    seconds: float  # wall time from opening the clip to its last score, other clips' work included
    passing: bool = False  # what went wrong is the disk's, the network's or a permission's: worth another try
    seekable: bool = False  # each time leads to one place of the video (:class:`aedmae_fast.video.Outcome`)

    @classmethod
    def failed(cls, path: Path, reason: str) -> ClipScores:
        """Of a clip that nothing is known of but that it could not be scored."""
        none = np.empty(0)
        flags = np.empty(0, dtype=bool)
        return cls(path, Status.FAILED, reason, None, none, none, none, none, none, none, none, none, flags, 0.0)

    @property
    def frames(self) -> int:
        """Number T of frames decoded."""
        return len(self.score)

    @property
    def events(self) -> list[Event]:
        """The stretches of time in which the score is highest, highest first; see :mod:`aedmae_fast.engine.events`."""
        return find_events(self.score, self.raw)

    @property
    def peak(self) -> tuple[int, float] | None:
        """Frame and value of the highest score; None where there is no finite score."""
        if not self.frames or not np.isfinite(self.score).any():
            return None
        frame = int(np.nanargmax(self.score))
        return frame, float(self.score[frame])
