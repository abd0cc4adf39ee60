"""The CSV of a clip, whatever its length and whatever is missing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.table import COLUMNS, ROWS, write_csv
from aedmae_fast.video import Status


@pytest.mark.parametrize("frames", [0, 1, ROWS, ROWS + 3])
@pytest.mark.parametrize("stride", [False, True])
def test_every_cell(frames: int, stride: bool) -> None:
    random = np.random.default_rng(frames)
    score, raw, error, gap, prob, x, y = random.normal(size=(7, frames)) * 10.0 ** random.integers(-8, 8, (7, 1))
    prob[:] = np.nan  # no class head
    x[1::2] = np.nan
    flags = np.arange(frames) % 3 > 0 if stride else np.zeros(frames, dtype=bool)
    times = np.arange(frames) / 29.97
    file = io.StringIO()
    write_csv(file, ClipScores(Path(), Status.OK, "", None, times, score, raw, error, gap, prob, x, y, flags, 1.0))
    header, *lines = file.getvalue().splitlines()
    flagged = bool(flags.any())
    assert tuple(header.split(",")) == (*COLUMNS, *(["interpolated"] if flagged else []))
    assert len(lines) == frames
    for t, line in enumerate(lines):
        cells = [f"{t}", f"{times[t]:.6f}", *(f"{column[t]:.9g}" for column in (score, raw, error, gap)), ""]
        cells += ["" if t % 2 else f"{x[t]:.0f}", f"{y[t]:.0f}"]
        assert line.split(",") == cells + ([f"{int(flags[t])}"] if flagged else [])
