"""How much video a container says it holds, out of what FFmpeg makes of its header."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aedmae_fast.video.verdict import Promise

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["expected_frames", "read_promise"]

MICROSECONDS = 1_000_000  # FFmpeg's unit for a whole container's times

# Containers that state their length in a header, so that a cut file can be told from a short one. Of the others FFmpeg
# reads the last timestamp in the file (MPEG-TS, MPEG-PS, Ogg) or guesses from its size (raw streams): no promise.
_STATES_LENGTH = {"asf", "avi", "flv", "matroska", "mov"}


def read_promise(container: InputContainer, stream: VideoStream, fps: float) -> Promise:
    """What a file that was just opened says of the stream."""
    formats = set(container.format.name.split(","))
    if not formats & _STATES_LENGTH:
        return Promise(fps)
    if "avi" in formats and stream.frames:
        return _of_avi(stream, fps)
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    length, of_all = _duration(container, stream), _whole_duration(container)
    return Promise(
        fps,
        stream.frames,
        _end(start, length, counted=stream.frames > 0),
        _end((container.start_time or 0) / MICROSECONDS, of_all, counted=stream.frames > 0),
        start,
    )


def _of_avi(stream: VideoStream, fps: float) -> Promise:
    """By the header's own count: FFmpeg cuts the duration of a cut file in proportion to its size.

    It counts ticks. They are frames, but 600 or 1000 a second where the stream was copied from another container; then
    nothing says how many of them the last frame is shown.
    """
    tick, frame = float(stream.time_base or 1 / fps), 1 / fps
    end = stream.frames * tick
    return Promise(fps, min(stream.frames, round(end * fps)), end if tick > 0.75 * frame else end - 3 * frame)


def _end(start: float, stated: float | None, counted: bool) -> float | None:
    """Where a stream ends that starts at ``start``, seconds.

    An MP4 with a table of its frames states their length. Of the others, FFmpeg writes the end into Matroska and ASF
    and the length into FLV, and other programs and fragmented MP4s differ: what is not after the start is a length.
    """
    return stated if stated is None or (stated > start and not counted) else start + stated


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """What is stated in seconds: of the stream, or in its DURATION tag (Matroska), or of the longest stream."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), "")
    if match := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", tag):
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    return _whole_duration(container)


def _whole_duration(container: InputContainer) -> float | None:
    return None if container.duration is None else container.duration / MICROSECONDS


def expected_frames(container: InputContainer, stream: VideoStream, promise: Promise) -> int | None:
    """A header's count, or duration times rate if that is more. For progress bars: the verdict is on a Promise."""
    end = promise.video_end
    length = (_duration(container, stream) or 0) if end is None else end - promise.start
    return max(promise.counted or stream.frames, round(length * promise.fps)) or None
