"""The frames of one clip that later windows still need, and the windows as index arithmetic on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from aedmae_fast.config import WINDOW

REACH = max(WINDOW)  # a window spans t - 3 .. t + 3, so 6 frames are carried from one block to the next


class Window(NamedTuple):
    """One frame to score, with the frames that the network sees around it."""

    frame: int
    frames: tuple[Tensor, ...]  # uint8 [H, W, 3] each: t-3, t, t+3; a missing neighbour is t itself


class FrameRing:
    """Turns the consecutive frames of one clip into windows. Holds 6 frames and the newest block, whatever the length.

    Args:
        stride: emit every ``stride``-th frame's window, on its true neighbours.
    """

    def __init__(self, stride: int = 1) -> None:
        self._frames: deque[Tensor] = deque()
        self._first = 0  # index of _frames[0]
        self._next = 0  # next frame to emit
        self._stride = stride

    @property
    def count(self) -> int:
        """Frames pushed so far."""
        return self._first + len(self._frames)

    def push(self, frames: Tensor) -> Iterator[Window]:
        """Add uint8 [n, H, W, 3] and yield the windows that are now complete."""
        self._frames.extend(frames)
        yield from self._emit(self.count - REACH)

    def finish(self) -> Iterator[Window]:
        """Yield the windows at the clip's end, whose right neighbours do not exist."""
        yield from self._emit(self.count)

    def _emit(self, end: int) -> Iterator[Window]:
        while self._next < end:
            yield Window(self._next, tuple(self._at(self._next + offset) for offset in WINDOW))
            self._next += self._stride
        while self._frames and self._first < self._next - REACH:
            self._frames.popleft()
            self._first += 1

    def _at(self, index: int) -> Tensor:
        return self._frames[(index if 0 <= index < self.count else self._next) - self._first]
