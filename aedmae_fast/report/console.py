"""The command's words: what was chosen, how far it is, how it ended. All on stderr, so that stdout is for results."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from aedmae_fast.engine.choose import Choice
from aedmae_fast.text import duration, printable, table

PLAIN_INTERVAL = 30.0  # seconds between progress lines where there is no terminal


def tell(line: str) -> None:
    """Write a line to stderr, above a bar that is drawn there.

    Where nobody reads it any more (a terminal or the other end of a pipe that is gone) the work goes on without words.
    """
    try:
        tqdm.write(line, file=sys.stderr)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError):  # a stream without a file
            os.dup2(nowhere, sys.stderr.fileno())  # later lines, a traceback's too, and what is left in the buffer
        os.close(nowhere)


class Console:
    """Progress of a job in files and frames: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._files = self._finished = self._frames = self._opened = self._expected = 0
        self._started = self._spoke = time.perf_counter()

    def say(self, line: str) -> None:
        if not self._quiet:
            tell(line)

    def now_and_then(self, line: str) -> None:
        """Say how far something is, every half a minute."""
        if self._is_due():
            self.say(line)

    def error(self, line: str) -> None:
        tell(line)

    def choices(self, choices: Mapping[str, Choice]) -> None:
        width = max(map(len, choices))
        for name, choice in choices.items():
            self.say(f"  {name:<{width}}  {choice.value}  ({choice.why})")

    def start(self, files: int) -> None:
        self._files = files
        self._started = self._spoke = time.perf_counter()
        if not self._quiet and sys.stderr.isatty():
            self._bar = tqdm(unit=" frames", dynamic_ncols=True, smoothing=0.05, postfix={"files": f"0/{files}"})

    def opened(self, expected_frames: int | None) -> None:
        self._opened += 1
        self._expected += expected_frames or 0
        if self._bar is not None:
            self._bar.total = self._total()

    def scored(self, frames: int) -> None:
        self._frames += frames
        if self._bar is not None:
            self._bar.update(frames)
        elif self._is_due():
            self.say(self._line())

    def finished(self, name: str, entry: Mapping[str, Any]) -> None:
        self._finished += 1
        if self._bar is not None:
            self._bar.set_postfix(files=f"{self._finished}/{self._files}")
        if entry["status"] != "ok":
            self.error(f"{printable(name)}: {entry['status']}: {printable(entry['reason'])}")
        elif self._bar is None:
            self.say(f"{printable(name)}: {entry['frames']} frames in {entry['seconds']:.1f} s")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._spoke = time.perf_counter()

    def _is_due(self) -> bool:
        due = time.perf_counter() - self._spoke > PLAIN_INTERVAL
        if due:
            self._spoke = time.perf_counter()
        return due

    def _total(self) -> int:
        """Frames of the whole job, unopened files taken as long as the opened ones are on average."""
        return max(self._frames, round(self._expected / max(self._opened, 1) * self._files))

    def _line(self) -> str:
        rate = self._frames / (self._spoke - self._started)
        left = f", {duration((self._total() - self._frames) / rate)} left" if rate else ""
        return f"{self._finished}/{self._files} files, {self._frames} frames, {rate:.1f} frames/s{left}"


def closing_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Per file: frames, seconds, frames/s, peak score and its frame, status."""
    head = ("file", "frames", "seconds", "frames/s", "peak score", "at frame", "status")
    return table([head, *((printable(name), *_cells(entry)) for name, entry in entries.items())], "<>>>>><")


def _cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    rate = entry["frames"] / entry["seconds"] if entry["seconds"] else 0.0
    peak = ("", "") if entry["peak_score"] is None else (f"{entry['peak_score']:.4g}", str(entry["peak_frame"]))
    status = entry["status"] + (f" ({printable(entry['reason'])})" if entry["reason"] else "")
    return str(entry["frames"]), f"{entry['seconds']:.1f}", f"{rate:.1f}", *peak, status
