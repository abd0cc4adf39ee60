"""From a clip's scores to what a person looks at: the few stretches of time in which they are highest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aedmae_fast.engine.postprocess import Series

MOST = 20  # events of a clip
QUIET = 0.1  # quantile of the scores: something unusual may go on for most of a clip


class Event(NamedTuple):
    """A stretch of a clip around a peak of its score; frames ``start`` to ``end``, both included."""

    start: int
    end: int
    score: float  # at the peak
    frame: int  # the one to look at: of the highest raw score


def find_events(score: Series, raw: Series) -> list[Event]:
    """The highest stretches of a clip, highest first: up to ``MOST``, none where all scores are equal.

    A stretch reaches from its peak to where the score falls below the middle between the peak and the clip's quiet
    level, or to a higher stretch. Peaks below that middle of the clip's highest are left out.
    There is no threshold in it: a clip in which nothing happens has events too, low ones.

    Args:
        score: float64 [T], smoothed. Frames whose score is not finite are in no event.
        raw: float64 [T], before smoothing.
    """
    finite = np.isfinite(score)
    left = np.where(finite, score, -np.inf)  # what no event has taken yet
    events: list[Event] = []
    if not finite.any():
        return events
    quiet, least = np.quantile(score[finite], QUIET), -np.inf
    while len(events) < MOST:
        peak = int(left.argmax())
        value = float(left[peak])
        if value <= quiet or value < least:
            break
        middle = (value + quiet) / 2
        least = max(least, middle)  # of the first one: the highest
        below = left < middle
        before, after = below[:peak][::-1], below[peak:]  # each from the peak outwards
        start = peak - int(before.argmax()) if before.any() else 0
        end = peak + int(after.argmax()) - 1 if after.any() else len(score) - 1
        events.append(Event(start, end, value, start + int(raw[start : end + 1].argmax())))
        left[start : end + 1] = -np.inf
    return events
