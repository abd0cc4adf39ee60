"""Finished CSV files, found and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.table import write_csv
from aedmae_fast.evaluation.score_files import find_csv, read_csv, read_settings
from aedmae_fast.video import Status


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


def test_the_longest_name_wins(tmp_path: Path) -> None:
    root, scores = tmp_path / "data", tmp_path / "scores"
    clip = root / "test" / "01.mp4"
    (scores / "test").mkdir(parents=True)
    for name in ("01.csv", "01.mp4.csv", "test/01.mp4.csv"):
        (scores / name).touch()
        assert find_csv(scores, clip, root) == scores / name
    with pytest.raises(FileNotFoundError, match=r"no scores of 02\.mp4 in .*: test/02\.mp4\.csv, 02\.mp4\.csv"):
        find_csv(scores, root / "test" / "02.mp4", root)


def test_settings_come_from_the_manifest_or_the_report(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == {}
    (tmp_path / "evaluation.json").write_text('{"preset": "release-avenue"}')
    assert read_settings(tmp_path) == {"preset": "release-avenue"}
    (tmp_path / "manifest.json").write_text('{"settings": {"preset": "paper"}, "files": {}}')
    assert read_settings(tmp_path) == {"preset": "paper"}
    (tmp_path / "manifest.json").write_text("[]")
    assert read_settings(tmp_path) == {"preset": "release-avenue"}
