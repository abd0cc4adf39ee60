"""How rare a score is: how often videos in which nothing unusual happens reach it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aedmae_fast.engine.job import MANIFEST
from aedmae_fast.engine.postprocess import Series
from aedmae_fast.engine.table import VALUE, read_columns

__all__ = ["NormalScores", "read_normal"]

ALIKE = ("weights_sha256", "preset", "smooth", "stride", "region")  # settings without which scores do not compare


class NormalScores:
    """The scores of normal videos.

    Args:
        clips: float64 [T] each, smoothed; a frame that is NaN reaches nothing.
        seconds: of all of them together, above 0.
    """

    def __init__(self, clips: Sequence[Series], seconds: float) -> None:
        self.hours = seconds / 3600
        self._clips = [np.nan_to_num(clip, nan=-np.inf) for clip in clips]

    @property
    def length(self) -> str:
        return f"{self.hours:.1f} h" if self.hours >= 1 else f"{60 * self.hours:.1f} min"

    def times_reached(self, score: float) -> int:
        """How many stretches of time have scores as high: what a threshold there would have raised alarms for."""
        as_written = float(VALUE % score)  # theirs have been, and the same score reaches itself
        reached = (clip >= as_written for clip in self._clips)
        return sum(int(above[0]) + int(np.count_nonzero(above[1:] & ~above[:-1])) for above in reached)

    def tell(self, score: float) -> str:
        """In a few words."""
        times = self.times_reached(score)
        if not times:
            return f"never as high in {self.length} of normal video"
        often = f"{times} times" if times > 1 else "once"
        return f"as high {often} in {self.length} of normal video, {times / self.hours:.3g} an hour"


def read_normal(folder: Path, settings: dict[str, Any]) -> NormalScores:
    """Finished scores of normal videos, as ``python -m aedmae_fast.score`` left them.

    Args:
        folder: its ``--out``.
        settings: of the scores to compare with them.

    Raises:
        ValueError: nothing finished in ``folder``, or scores of other settings; the message names them.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        theirs, entries = dict(manifest["settings"]), manifest["files"].values()
        outputs = [folder / entry["output"] for entry in entries if entry["output"] is not None]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # whatever another file may hold
        raise ValueError(f"normal: {folder} holds no scores; expected the --out folder of a finished run") from error
    for name in ALIKE:
        if theirs.get(name) != settings[name]:
            raise ValueError(
                f"normal: {folder} has scores of {name} {theirs.get(name)!r}, expected {settings[name]!r}, as of the"
                " videos to score; score the normal ones like them"
            )
    clips, seconds = [], 0.0
    for output in outputs:
        time_s, score = read_columns(output, ("time_s", "score"))
        if len(time_s) > 1:
            clips.append(score)
            seconds += float(time_s[-1] - time_s[0]) * len(time_s) / (len(time_s) - 1)
    if not clips:
        raise ValueError(f"normal: {folder} holds no finished scores; expected those of normal videos")
    return NormalScores(clips, seconds)
