"""What later windows of a clip still need, and the windows as index arithmetic on it: of frames, and of their maps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from aedmae_fast.config import WINDOW
from aedmae_fast.engine.resident import Rows

__all__ = ["REACH", "FrameRing", "MapRing", "Window"]

REACH = max(WINDOW)  # a window spans t - 3 .. t + 3, so 6 frames are carried from one block to the next


class Window(NamedTuple):
    """One frame, and the rows of what its value is computed from. Whoever computes it releases them afterwards."""

    frame: int
    # Of frames: t-3, t, t+3; a missing neighbour is t itself. Of maps: those of the frames within the filter's reach in
    # time that exist and are scored, oldest first.
    rows: tuple[int, ...]


class FrameRing:
    """Turns the consecutive frames of one clip into windows. Holds 6 frames and the newest block, whatever the length.

    Args:
        rows: where the frames are kept.
        stride: emit every ``stride``-th frame's window, on its true neighbours.
    """

    def __init__(self, rows: Rows, stride: int = 1) -> None:
        self._rows, self._stride = rows, stride
        self._seen = {offset % stride for offset in WINDOW}  # remainders of the frames that some window sees
        self._kept: dict[int, int] = {}  # frame -> its row, oldest first
        self._next = 0  # next frame to emit
        self.count = 0  # frames pushed so far

    def push(self, frames: Tensor) -> Iterator[Window]:
        """Add uint8 [n, H, W, 3] and yield the windows that are now complete."""
        seen = [i for i in range(len(frames)) if (self.count + i) % self._stride in self._seen]
        blocks = [frames] if len(seen) == len(frames) else [frames[i : i + 1] for i in seen]
        rows = (row for block in blocks for row in self._rows.add(block))
        self._kept.update(zip((self.count + i for i in seen), rows, strict=True))
        self.count += len(frames)
        yield from self._emit(self.count - REACH)

    def finish(self) -> Iterator[Window]:
        """Yield the windows at the clip's end, whose right neighbours do not exist."""
        yield from self._emit(self.count)
        self._rows.release(self._kept.values())
        self._kept.clear()

    def _emit(self, end: int) -> Iterator[Window]:
        while self._next < end:
            window = Window(self._next, tuple(self._at(self._next + offset) for offset in WINDOW))
            self._rows.hold(window.rows)
            self._next += self._stride
            yield window
        for frame in [frame for frame in self._kept if frame < self._next - REACH]:
            self._rows.release([self._kept.pop(frame)])

    def _at(self, index: int) -> int:
        return self._kept[index if 0 <= index < self.count else self._next]


class MapRing:
    """Turns the maps of one clip into windows of the filter in time, which spans ``extent // 2`` frames either way."""

    def __init__(self, rows: Rows, extent: int) -> None:
        self._rows = rows
        self._reach = extent // 2
        self._maps: deque[tuple[int, int]] = deque()  # frame and row
        self._waiting: deque[int] = deque()  # frames

    def push(self, frame: int, row: int) -> Iterator[Window]:
        """Add the next scored frame's map, in a row that was taken for it; yield the windows that are now complete."""
        while self._waiting and self._waiting[0] + self._reach < frame:
            yield self._pop()
        self._maps.append((frame, row))
        self._waiting.append(frame)
        while self._waiting and self._waiting[0] + self._reach <= frame:
            yield self._pop()

    def finish(self) -> Iterator[Window]:
        """Yield the windows at the clip's end."""
        while self._waiting:
            yield self._pop()
        self._rows.release(row for _, row in self._maps)
        self._maps.clear()

    def _pop(self) -> Window:
        frame = self._waiting.popleft()
        window = Window(frame, tuple(row for near, row in self._maps if abs(near - frame) <= self._reach))
        self._rows.hold(window.rows)
        while self._maps and self._maps[0][0] <= frame - self._reach:  # no later frame reaches so far back
            self._rows.release([self._maps.popleft()[1]])
        return window
