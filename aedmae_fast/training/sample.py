"""Which frames to train on, where there are more than anyone could: pieces of the videos, evenly spread over all.

A camera's archive holds every hour of the day and every kind of weather; ten seconds here and there of all of it teach
more than as many frames of one afternoon. Only the pieces are decoded: what a sample costs does not grow with what it
is taken from.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from aedmae_fast.video import Video, open_part, open_video
from aedmae_fast.video.pyav import survey

PIECE = 256  # frames, about: ten seconds, in which things move before a background that does not change
SMALLEST = 50  # bytes of a file a frame: a header that promises more frames is not believed


class Counted(NamedTuple):
    """A video whose frames were counted without decoding it."""

    path: Path
    frames: int  # as the container states it, else its packets; 0: it could not be read
    fps: float


class Piece(NamedTuple):
    """A video, or some consecutive frames of it."""

    path: Path
    start_s: float = 0.0
    frames: int | None = None  # None: the whole video

    def open(self) -> Video:
        """Raises VideoError as :func:`open_video` and :func:`open_part`."""
        return open_video(self.path) if self.frames is None else open_part(self.path, self.start_s, self.frames)


def count_frames(path: Path) -> Counted:
    """How long a video or a folder of frames is."""
    try:
        with closing(open_video(path)) as video:
            info = video.info
        frames = info.expected_frames or 0
        if path.is_file() and not 0 < frames * SMALLEST <= path.stat().st_size:
            frames = survey(path).met.frames
        return Counted(path, frames, info.fps)
    except Exception:  # whatever a hostile file provokes is told where it is decoded
        return Counted(path, 0, 1.0)


def take_sample(videos: Sequence[Counted], frames: int) -> list[Piece]:
    """About ``frames`` frames of them; the whole videos, where that is as much as there is.

    The videos, one after the other, are cut into pieces of about :data:`PIECE` frames, a short one being a piece, and
    of these every n-th is taken. Of a video that could not be counted a piece at its start is taken, too: its trouble
    is told where it is decoded, and where that has passed, it is no more than a piece.
    """
    uncounted = [Piece(video.path, 0.0, PIECE) for video in videos if not video.frames]
    total = sum(video.frames for video in videos)
    if frames >= total:
        return [Piece(video.path) for video in videos if video.frames] + uncounted
    pieces = [piece for video in videos for piece in _cut(video)]
    taken = max(1, round(len(pieces) * frames / total))
    return [pieces[int((i + 0.5) * len(pieces) / taken)] for i in range(taken)] + uncounted


def _cut(video: Counted) -> list[Piece]:
    count = max(1, round(video.frames / PIECE))
    if count == 1:
        return [Piece(video.path)] if video.frames else []
    ends = [i * video.frames // count for i in range(count + 1)]
    return [Piece(video.path, first / video.fps, last - first) for first, last in pairwise(ends)]
