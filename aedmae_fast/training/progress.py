"""How far it is and how long it will take: a bar on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from aedmae_fast.report.console import PLAIN_INTERVAL, tell
from aedmae_fast.text import duration


class Progress:
    """Counts up to a total, which may be unknown.

    Args:
        what: what is done, e.g. ``train``.
        unit: what is counted, e.g. ``frames``.
        start: count to begin with.
    """

    def __init__(self, what: str, unit: str, total: int | None, quiet: bool, start: int = 0) -> None:
        self._what, self._unit, self._total, self._quiet = what, unit, total, quiet
        self._start = self._count = start
        self._began = self._spoke = time.perf_counter()
        self._bar: tqdm[Any] | None = None
        if not quiet and sys.stderr.isatty():
            self._bar = tqdm(desc=what, unit=f" {unit}", total=total, initial=start, dynamic_ncols=True, smoothing=0.05)

    def advance(self, count: int) -> None:
        self._count += count
        if self._bar is not None:
            self._bar.update(count)
        elif not self._quiet and time.perf_counter() - self._spoke > PLAIN_INTERVAL:
            self._spoke = time.perf_counter()
            tell(f"{self._what}: {self._count} {self._unit}, {self.left()}")

    def left(self) -> str:
        """Time left, in words."""
        rate = (self._count - self._start) / max(time.perf_counter() - self._began, 1e-9)
        if not self._total or not rate:
            return f"{rate:.1f} {self._unit}/s"
        return f"{duration((self._total - self._count) / rate)} left"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
