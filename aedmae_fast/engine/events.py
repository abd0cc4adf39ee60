"""From a clip's scores to what a person looks at: the few stretches of time in which they are highest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aedmae_fast.engine.postprocess import Series

MOST = 20  # events of a clip


class Event(NamedTuple):
    """A stretch of a clip around a peak of its score; frames ``start`` to ``end``, both included."""

    start: int
    end: int
    peak: int  # frame
    score: float  # there


def find_events(score: Series) -> list[Event]:
    """The highest stretches of a clip, highest first: up to ``MOST``, none where all scores are equal.

    A stretch reaches from its peak to where the score falls below the middle between the peak and the clip's median, or
    to a higher stretch. Peaks below the middle between the clip's highest score and its median are left out.
    There is no threshold in it: a clip in which nothing happens has events too, low ones.

    Args:
        score: float64 [T]. Frames whose score is not finite are in no event.
    """
    finite = np.isfinite(score)
    left = np.where(finite, score, -np.inf)  # what no event has taken yet
    events: list[Event] = []
    if not finite.any():
        return events
    usual, least = np.median(score[finite]), -np.inf
    while len(events) < MOST:
        peak = int(left.argmax())
        value = float(left[peak])
        if value <= usual or value < least:
            break
        middle = (value + usual) / 2
        least = max(least, middle)  # of the first one: the highest
        below = np.flatnonzero(left < middle)
        before, after = below[below < peak], below[below > peak]
        start = int(before[-1]) + 1 if len(before) else 0
        end = int(after[0]) - 1 if len(after) else len(score) - 1
        events.append(Event(start, end, peak, value))
        left[start : end + 1] = -np.inf
    return events
