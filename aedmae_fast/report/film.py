"""What the report shows of an event: the frame to look at, and a film: a still does not show that someone runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aedmae_fast.engine.postprocess import Series
from aedmae_fast.model.region import Region
from aedmae_fast.report.picture import ringed, small
from aedmae_fast.video import VideoError, open_part, pictures_of
from aedmae_fast.video.mp4 import encode_mp4

__all__ = ["Shots", "Track", "can_seek", "shoot", "span"]

BEFORE_AND_AFTER = (1.0, 2.0)  # seconds of the frame to look at: at least, at most
FPS = 15  # at most; the frames between are left out
NEAR = 1e-6  # seconds: times in the manifest are rounded


class Track(NamedTuple):
    """Columns of a clip's CSV, float64 [T] each."""

    time_s: Series
    score: Series
    x: Series  # NaN where the preset knows no place
    y: Series


def span(event: Mapping[str, Any]) -> tuple[float, float]:
    """From when to when, in seconds: the event, as far as it is near enough, and a little of what is around it."""
    least, most = BEFORE_AND_AFTER
    shown = event["time_s"]
    start = min(max(event["start_s"], shown - most), shown - least)
    return max(start, 0.0), max(min(event["end_s"], shown + most), shown + least)


def can_seek(entry: Mapping[str, Any]) -> bool:
    """Whether a time leads to one place of the video; of what an earlier version scored, that is not known.

    It does not where recordings follow one another in one file, each with times of its own, nor where frames have no
    times. What is before is decoded then, which takes as long as it takes.
    """
    return bool(entry.get("seekable", False))


class Shots:
    """The pictures of one event, out of frames that come in order; those that are not wanted may be left out.

    Args:
        entry: of the video, as in the manifest, with its width and height.
        event: of the entry.
        region: outside of it the pictures are darker.

    Attributes:
        still: The frame to look at, with a ring around the place; None where it did not come.
        film: An MP4 of what is around it; during the event a ring follows where each frame's score comes from. Empty
            where there is none.
        trouble: Why there is no still, or no film.
    """

    def __init__(
        self, entry: Mapping[str, Any], event: Mapping[str, Any], track: Track, region: Region | None = None
    ) -> None:
        self.still: Image.Image | None = None
        self.film, self.trouble = b"", ""
        self.start, end = span(event)
        self._end = end + NEAR
        self._entry, self._event, self._track, self._region = entry, event, track, region
        self._due = self.start
        self._pictures: list[tuple[float, NDArray[np.uint8]]] = []

    def wants(self, time: float) -> bool:
        """Whether the frame of a time, in seconds, is one of the pictures."""
        return self._is_filmed(time) or self._is_still(time)

    def add(self, time: float, frame: Tensor) -> None:
        """Take a frame that is wanted: uint8 [H, W, 3], BGR."""
        image = small(frame, self._region, self._entry.get("aspect", 1.0))
        if self._is_still(time):
            self.still = self._ringed(image.copy(), self._event["x"], self._event["y"])
        if self._is_filmed(time):
            self._due = time + 0.99 / FPS  # times are rounded
            at = min(int(np.searchsorted(self._track.time_s, time - 1e-3)), len(self._track.time_s) - 1)
            if self._event["start_frame"] <= at <= self._event["end_frame"]:
                image = self._ringed(image, self._track.x[at], self._track.y[at])
            if self._pictures:  # a video may change its size midway; a film may not
                image = image.resize(self._pictures[0][1].shape[1::-1])
            self._pictures.append((time, np.asarray(image)))

    def is_complete(self, time: float) -> bool:
        """Whether nothing of a time or later is wanted."""
        return self.still is not None and time > self._end

    def finish(self, trouble: str = "") -> None:
        """Make the film; ``trouble``: why no more frames come."""
        if self.still is None:
            self.trouble = trouble or f"no frame at {self._event['time_s']:.2f} s"
        elif self._pictures:
            try:
                self.film = encode_mp4(self._pictures)
            except ImportError as error:  # nothing to encode with
                self.trouble = str(error)
        self._pictures = []

    def _is_filmed(self, time: float) -> bool:
        return time >= self._due - NEAR and (time <= self._end or not self._pictures)

    def _is_still(self, time: float) -> bool:
        return self.still is None and time >= self._event["time_s"] - NEAR

    def _ringed(self, image: Image.Image, x: float | None, y: float | None) -> Image.Image:
        if x is None or y is None or not np.isfinite(x):
            return image
        return ringed(image, x / self._entry["width"], y / self._entry["height"])


def shoot(path: Path, shots: Sequence[Shots], seek: bool) -> None:
    """Take the pictures of a video's events, and make their films.

    Args:
        seek: Each event is sought by itself. Else the video is decoded once for all of them, from its first frame on.
    """
    for together in [[each] for each in shots] if seek else [shots]:
        waiting, trouble = sorted(together, key=lambda each: each.start), ""
        try:
            _shoot(path, waiting, seek)
        except VideoError as error:
            trouble = error.reason
        for each in waiting:
            each.finish(trouble)


def _shoot(path: Path, waiting: list[Shots], seek: bool) -> None:
    """In one pass, which ends where nothing waits any more. What is complete is finished and taken off the list."""
    with closing(open_part(path, waiting[0].start, seek=seek)) as video:
        for chunk in video:
            for number, time in enumerate(chunk.times):
                if wanting := [each for each in waiting if each.wants(time)]:
                    frame = pictures_of(chunk)[number]
                    for each in wanting:
                        each.add(time, frame)
                for each in [each for each in waiting if each.is_complete(time)]:
                    each.finish()
                    waiting.remove(each)
                if not waiting:
                    return
        if (outcome := video.outcome).reason:
            raise VideoError(path, outcome.status, outcome.reason)
