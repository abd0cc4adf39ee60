"""The seconds around an event as a short film: a still does not show that someone runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.engine.postprocess import Series
from aedmae_fast.model.region import Region
from aedmae_fast.report.picture import ringed, small
from aedmae_fast.video import read_frames
from aedmae_fast.video.mp4 import encode_mp4

__all__ = ["Track", "can_seek", "make_film", "span"]

BEFORE_AND_AFTER = (1.0, 2.0)  # seconds of the frame to look at: at least, at most
FPS = 15  # at most; the frames between are left out


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


def make_film(
    path: Path, entry: Mapping[str, Any], event: Mapping[str, Any], track: Track, region: Region | None = None
) -> bytes:
    """An MP4 of what is around an event; during it a ring follows where each frame's score comes from.

    Args:
        path: of the video.
        entry: of the video, as in the manifest, with its width and height.
        event: of the entry.
        region: outside of it the film is darker.

    Raises:
        ImportError: nothing to encode with.
        VideoError: nothing to decode at that time.
    """
    return encode_mp4(_pictures(path, entry, event, track, region))


def _pictures(
    path: Path, entry: Mapping[str, Any], event: Mapping[str, Any], track: Track, region: Region | None
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    start, end = span(event)
    due, size = -np.inf, None
    with closing(read_frames(path, start, can_seek(entry))) as frames:
        for time, frame in frames:
            if time > end and due > -np.inf:
                return
            if time < due:
                continue
            due = time + 0.99 / FPS  # times are rounded
            image = small(frame, region)
            size = size or image.size
            image = image.resize(size)  # a video may change its size midway; a film may not
            at = min(int(np.searchsorted(track.time_s, time - 1e-3)), len(track.time_s) - 1)
            x, y = track.x[at], track.y[at]
            if event["start_frame"] <= at <= event["end_frame"] and np.isfinite(x):
                image = ringed(image, x / entry["width"], y / entry["height"])
            yield time, np.asarray(image)
