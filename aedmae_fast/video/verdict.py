"""What a video file promised, what decoding met, and the verdict on the two: ok, truncated, corrupt, ...

No decoder in here, so that every decoder can be judged by the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from aedmae_fast.video import Outcome, Status

__all__ = ["Clock", "Met", "Promise", "judge"]

RESET = 1.0  # seconds that a PTS goes back or ahead
TICK = 1 / 90_000  # seconds, of MPEG-TS and MPEG-PS
WRAP = 2**33  # of those ticks, after which the PTS begin anew; FFmpeg counts on


class _Stamped(Protocol):
    @property
    def pts(self) -> int | None: ...


_Frame = TypeVar("_Frame", bound=_Stamped)


@dataclass(frozen=True)
class Promise:
    """How much video a container says it holds. Times in seconds on the container's own clock; None: not stated."""

    fps: float
    counted: int = 0  # frames, counted by a header (avi, mp4, mov); 0: not counted
    video_end: float | None = None  # where the video stream ends
    file_end: float | None = None  # where the last of all streams ends
    start: float = 0.0  # where the video stream starts


@dataclass
class Met:
    """What one pass over a file met."""

    packets: int = 0
    rejected: int = 0  # packets that the decoder refused
    frames: int = 0
    incomplete: int = 0  # packets of which the demuxer missed bytes
    damaged: int = 0  # frames that came, but with the decoder's flag for damage on them
    first_damage: int = 0  # packets read when damage first showed; 0: it never did
    last_error: str = ""  # the decoder's last complaint
    read_error: str = ""  # why reading stopped before the end of the file
    passing: bool = False  # and that was the disk's or the network's trouble
    video_end: float = 0.0  # latest end of a packet of the video stream, seconds
    file_end: float = 0.0  # the same over all streams that were watched

    def reject(self, error: str) -> None:
        """Count a packet that the decoder refused: the last one read, or in the flush at the end one held back."""
        self.rejected = min(self.rejected + 1, self.packets)
        self.last_error = error
        self.first_damage = self.first_damage or self.packets

    def lose_bytes(self) -> None:
        """Count the last packet read as one that lacks bytes. Many a decoder makes a picture of it without a word."""
        self.incomplete += 1
        self.first_damage = self.first_damage or self.packets

    def frame(self, damaged: bool) -> None:
        """Count a decoded frame."""
        self.frames += 1
        if damaged:
            self.damaged += 1
            self.first_damage = self.first_damage or self.packets


@dataclass
class Clock:
    """Presentation times in seconds from the first frame on, never decreasing.

    They follow the PTS. A frame without one, or with one that is not after all before it (two frames that arrived in
    one burst have the same in a recording), comes ``1 / fps`` after the last frame; the next good PTS is followed
    again. A PTS that goes back by more than :data:`RESET` is a clock that was set anew: times go on from there. So is
    one that goes ahead by more than half a :data:`WRAP`: FFmpeg took the step back for one. One frame alone whose PTS
    is that far off, back or ahead, has a damaged one, which is as good as none.
    """

    unit: float | None  # seconds per PTS tick; None: ignore PTS
    fps: float
    _origin: int | None = field(default=None, init=False)  # PTS ticks
    _offset: float = field(default=0.0, init=False)  # the time at the origin
    _last: int = field(default=0, init=False)  # the highest PTS since the origin
    _time: float | None = field(default=None, init=False)  # of the last frame
    _was_reset: bool = field(default=False, init=False)

    @property
    def seekable(self) -> bool:
        """Whether each of the times so far leads to one place: they follow a PTS that was never set anew."""
        return self._origin is not None and not self._was_reset

    def timed(self, frames: Iterable[_Frame]) -> Iterator[tuple[float, _Frame]]:
        """Frames in output order, each with its time. Where the PTS jumps, the next frame is waited for."""
        jumped: _Frame | None = None
        for frame in frames:
            if jumped is not None:
                yield self.tell(jumped.pts if self._goes_on(jumped.pts, frame.pts) else None), jumped
                jumped = None
            if self._distance(frame.pts, self._last) > RESET:
                jumped = frame
            else:
                yield self.tell(frame.pts), frame
        if jumped is not None:
            yield self.tell(jumped.pts), jumped

    def _goes_on(self, jumped: int | None, following: int | None) -> bool:
        """Whether the PTS after one that jumped is the next frame's, or nearer to that than to those before."""
        after = self._distance(following, jumped)
        return following is None or 0 < after < 1.5 / self.fps or after < self._distance(following, self._last)

    def _distance(self, pts: int | None, other: int | None) -> float:
        """Between two PTS, seconds; 0 where there is nothing to compare."""
        if self._origin is None or self.unit is None or pts is None or other is None:
            return 0.0
        return abs(pts - other) * self.unit

    def tell(self, pts: int | None) -> float:
        """The time of the next frame in output order, whose PTS is ``pts``, which is believed."""
        following = 0.0 if self._time is None else self._time + 1 / self.fps
        if self.unit is None or pts is None:
            self._time = following
            return following
        if self._origin is None or self._is_reset(pts - self._last):
            self._was_reset = self._origin is not None
            self._origin, self._offset, self._last, self._time = pts, following, pts, following
        elif pts <= self._last:
            self._time = following
        else:
            self._last = pts
            self._time = max(self._time or 0.0, self._offset + (pts - self._origin) * self.unit)
        return self._time

    def _is_reset(self, ticks: int) -> bool:
        """Whether a step of the PTS is that to another clock."""
        assert self.unit is not None
        return ticks * self.unit < -RESET or (math.isclose(self.unit, TICK) and ticks > WRAP // 2)


def judge(met: Met, promise: Promise) -> Outcome:
    """The verdict on a file that was read to its end.

    - No frame: UNREADABLE where packets were refused, else TOO_SHORT.
    - Damage: CORRUPT, and if frames are missing too, the reason says both. But damage in the very last
      packet alone is a cut in the middle of it, unless a header's frame count says that nothing is missing: TRUNCATED.
    - Frames missing at the end (see :func:`_ends_early`): TRUNCATED.
    """
    return replace(_judge(met, promise), passing=met.passing)


def _judge(met: Met, promise: Promise) -> Outcome:
    if met.frames == 0:
        return _nothing(met)
    missing = _missing(met, promise) if _ends_early(met, promise) else ""
    damage = _damage(met)
    at_the_cut = met.first_damage == met.packets and (missing or not promise.counted)
    if damage and not at_the_cut:
        lost = missing or (_missing(met, promise) if met.frames < promise.counted else "")
        return Outcome(Status.CORRUPT, f"{damage}; {lost}" if lost else damage)
    if damage and not missing:
        missing = f"decoded {met.frames} frames; the file ends in the middle of the last one"
    if met.read_error:
        missing = f"{missing or f'decoded {met.frames} frames'}; reading stopped early: {met.read_error}"
    return Outcome(Status.TRUNCATED, missing) if missing else Outcome(Status.OK, "")


def _nothing(met: Met) -> Outcome:
    if met.rejected:
        refused = f"{met.rejected} of {met.packets} packets could not be decoded: {met.last_error}"
        return Outcome(Status.UNREADABLE, f"no frame could be decoded; {refused}")
    why = f": {met.read_error}" if met.read_error else ""
    return Outcome(Status.TOO_SHORT, f"no frame could be decoded from {met.packets} packets{why}")


def _ends_early(met: Met, promise: Promise) -> bool:
    """Whether the video stops before the end that its container states.

    A header's frame count alone would cry wolf: edit lists hide frames at either end of an MP4, an AVI counts frames
    that were left out. So the count has to fall short *and* the last packet has to end before the stated end, by
    three quarters of a frame or more.

    Without a count only the end is compared. The product of duration and frame rate is no yardstick: for a variable
    frame rate FFmpeg's rate is a guess from the first frames. Allowed for are 4 frames (unstated durations of last
    packets, reordering delay) or 1 % of the length, and audio that outlasts the video: a cut takes the end of every
    stream, so a file in which any stream reaches the stated end is whole.
    """
    if promise.counted:
        end = promise.video_end
        return met.frames < promise.counted and (end is None or met.video_end < end - 0.75 / promise.fps)
    if promise.video_end is None:
        return False
    slack = max(4 / promise.fps, 0.01 * (promise.video_end - promise.start))
    file_end = promise.video_end if promise.file_end is None else promise.file_end
    return met.video_end < promise.video_end - slack and met.file_end < file_end - slack


def _missing(met: Met, promise: Promise) -> str:
    if promise.counted:
        return f"decoded {met.frames} of {promise.counted} frames"
    found, stated = (end - promise.start for end in (met.video_end, promise.video_end or 0.0))
    return f"decoded {met.frames} frames, {found:.2f} s of {stated:.2f} s"


def _damage(met: Met) -> str:
    parts = []
    if met.rejected:
        parts.append(f"{met.rejected} of {met.packets} packets could not be decoded")
    if met.incomplete:
        parts.append(f"{met.incomplete} of {met.packets} packets lack bytes")
    if met.damaged:
        parts.append(f"{met.damaged} of {met.frames} frames came out damaged")
    return "; ".join(parts)
