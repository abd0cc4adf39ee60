"""The CSV of a clip, whatever its length and whatever is missing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.table import COLUMNS, ROWS, read_csv, write_csv
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


def test_what_score_writes_is_read_back(tmp_path: Path) -> None:
    score = np.random.default_rng(0).random(20).astype(np.float32).astype(np.float64)
    other = np.full(20, np.nan)
    clip = ClipScores(None, Status.OK, "", None, np.arange(20) / 25, score, *[other] * 6, np.zeros(20, bool), 0.0)
    with open(tmp_path / "a.csv", "w") as file:
        write_csv(file, clip)
    np.testing.assert_array_equal(read_csv(tmp_path / "a.csv").astype(np.float32), score.astype(np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,raw\n0,1\n", "no column 'score'"),
        ("", "no column 'frame'"),
        ("frame,score\n0,0.5\n2,0.5\n", "line 3: expected frame 1, found 2"),
        ("frame,score\n0,x\n", "line 2: could not convert"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.csv.*{message}"):
        read_csv(tmp_path / "a.csv")


def test_a_missing_score_is_nan(tmp_path: Path) -> None:
    """The evaluation refuses it then, and names the clip and the frame."""
    (tmp_path / "a.csv").write_text("frame,score\n0,0.5\n1,\n2\n")
    np.testing.assert_array_equal(read_csv(tmp_path / "a.csv"), [0.5, np.nan, np.nan])
