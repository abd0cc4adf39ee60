"""How long a decoder's thread has shown no sign of life, by which a hanging disk or decoder is told from a slow one.

Time counts while this process runs, watched at least every :data:`LOOK` seconds: hours in which it was stopped, or the
machine asleep, are nobody's silence.
"""

from __future__ import annotations

import time

__all__ = ["LOOK", "Silence"]

LOOK = 1.0  # seconds


class Silence:
    """Of one thread that counts its own ``beats``; asked by the thread that watches it."""

    def __init__(self) -> None:
        self._beats, self._seconds = -1, 0.0
        self._looked = time.monotonic()

    def seconds(self, beats: int) -> float:
        """Since the last beat that was seen, now that there are so many."""
        now = time.monotonic()
        since, self._looked = now - self._looked, now
        self._seconds = self._seconds + min(since, 2 * LOOK) if beats == self._beats else 0.0
        self._beats = beats
        return self._seconds
