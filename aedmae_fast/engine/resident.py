"""Memory that stays where it is, for what captured graphs read and write: rows of one tensor, lent out.

A row is one frame, or one map. Whoever scores borrows as many rows as it needs at most and counts their uses; a row is
written again only after the last use of what it held has come to its end, so that no reader needs a copy of its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor

from aedmae_fast.engine.streams import current, hand_over

__all__ = ["Resident", "Rows"]


class Resident:
    """One tensor [R, *shape] on a device, for everyone that scores there. It grows, and moves, in :meth:`lend` alone.

    Args:
        shape: of a row.
        stream: on a GPU, the one that reads the rows. They are written there too; :meth:`lend` is to be called there.

    Attributes:
        tensor: the rows. Its memory is never freed while somebody holds this very tensor.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, stream: torch.cuda.Stream | None = None
    ) -> None:
        with torch.inference_mode(False):
            self.tensor = torch.empty((0, *shape), dtype=dtype, device=device)
        self._free: deque[int] = deque()
        self._stream = stream
        self.renew_lock()

    def renew_lock(self) -> None:
        """In a forked process, where a thread of the parent's may hold the old one for ever."""
        self._lock = threading.Lock()  # nobody writes a row while it is moved

    def lend(self, count: int) -> Rows:
        """Rows for one borrower. Where fewer are free, twice as many as there were are made, or as many as it takes."""
        with self._lock:
            if (lacking := count - len(self._free)) > 0:
                self._grow(max(lacking, len(self.tensor)))
            return Rows(self, [self._free.popleft() for _ in range(count)])

    def write(self, first: int, rows: Tensor) -> None:
        """Copy [n, *shape] from any device to the rows from ``first`` on; from the host without waiting, if pinned."""
        take = hand_over(rows)
        with self._lock, current(self._stream):
            take()
            self.tensor[first : first + len(rows)].copy_(rows, non_blocking=True)

    def take_back(self, rows: Iterable[int]) -> None:
        self._free.extend(rows)

    @torch.inference_mode(False)  # what is made in that mode could not be written outside of it
    def _grow(self, by: int) -> None:
        old = self.tensor
        new = torch.empty((len(old) + by, *old.shape[1:]), dtype=old.dtype, device=old.device)
        new[: len(old)].copy_(old)
        self._free.extend(range(len(old), len(new)))
        self.tensor = new


class Rows:
    """Rows that one borrower has, each free or used a number of times. Made by :meth:`Resident.lend`."""

    def __init__(self, resident: Resident, rows: list[int]) -> None:
        self._resident = resident
        self._uses = dict.fromkeys(rows, 0)
        self._free = deque(rows)

    @property
    def free(self) -> int:
        """Rows that :meth:`take` can give."""
        return len(self._free)

    def take(self) -> int:
        """A free row, used once.

        Raises:
            RuntimeError: none is free, or all were given back.
        """
        if not self._free:
            raise RuntimeError(f"all {len(self._uses)} rows are in use" if self._uses else "the rows were given back")
        row = self._free.popleft()
        self._uses[row] = 1
        return row

    def add(self, content: Tensor) -> list[int]:
        """Take a row for each of [n, *shape] and write it there."""
        rows = [self.take() for _ in range(len(content))]
        starts = [i for i, row in enumerate(rows) if not i or row != rows[i - 1] + 1]
        for start, end in pairwise([*starts, len(rows)]):  # neighbours in one copy
            self._resident.write(rows[start], content[start:end])
        return rows

    def hold(self, rows: Iterable[int]) -> None:
        """Use rows once more."""
        for row in rows:
            self._uses[row] += 1

    def release(self, rows: Iterable[int]) -> None:
        """End one use of each; what nobody uses any more is free."""
        for row in rows:
            self._uses[row] -= 1
            if not self._uses[row]:
                self._free.append(row)

    def give_back(self) -> None:
        """All of them, whatever their uses; nothing may read or write them any more. A second time does nothing."""
        self._resident.take_back(self._uses)
        self._uses, self._free = {}, deque()
