"""How rare a score is by those of normal videos: counted by hand, and only where scores compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aedmae_fast.report.normal import NormalScores, read_normal

SETTINGS = {"weights_sha256": "ab", "preset": "paper", "smooth": "preset", "stride": 1, "region": None}
SCORES = {"a": [0.5, 0.1, 0.4, 0.6, 0.1], "b": [0.2, np.nan, 0.3, 0.3]}


def write(folder: Path, scores: dict[str, list[float]], **changes: Any) -> Path:
    """A finished job's folder, 2 frames a second, and one file that is not."""
    files: dict[str, Any] = {"broken": {"output": None}}
    for name, values in scores.items():
        lines = [f"{i},{i / 2},{'' if np.isnan(value) else value}" for i, value in enumerate(values)]
        (folder / f"{name}.csv").write_text("\n".join(["frame,time_s,score", *lines]))
        files[name] = {"output": f"{name}.csv"}
    (folder / "manifest.json").write_text(json.dumps({"settings": {**SETTINGS, **changes}, "files": files}))
    return folder


@pytest.mark.parametrize(
    ("score", "times"), [(0.7, 0), (0.6, 1), (0.5, 2), (0.4, 2), (0.3, 3), (0.2, 4), (0.1, 3), (-5, 3)]
)
def test_stretches_that_reach_it(tmp_path: Path, score: float, times: int) -> None:
    """At 0.2: two in a, and in b one on each side of the frame without a score."""
    assert read_normal(write(tmp_path, SCORES), SETTINGS).times_reached(score) == times


def test_their_length(tmp_path: Path) -> None:
    assert read_normal(write(tmp_path, SCORES), SETTINGS).hours == pytest.approx(9 / 2 / 3600)


@pytest.mark.parametrize(
    ("seconds", "score", "told"),
    [
        (7200, 9, "never as high in 2.0 h of normal video"),
        (7200, 2, "as high once in 2.0 h of normal video, 0.5 an hour"),
        (1800, 1, "as high 2 times in 30.0 min of normal video, 4 an hour"),
    ],
)
def test_told(seconds: float, score: float, told: str) -> None:
    assert NormalScores([np.array([0.0, 1, 0, 2])], seconds).tell(score) == told


@pytest.mark.parametrize(
    ("name", "value"), [("weights_sha256", "cd"), ("preset", "x"), ("smooth", "none"), ("stride", 2), ("region", "r")]
)
def test_scores_that_do_not_compare(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"scores of {name} {value!r}, expected {SETTINGS[name]!r}"):
        read_normal(write(tmp_path, SCORES, **{name: value}), SETTINGS)


def test_another_precision_compares(tmp_path: Path) -> None:
    """Its scores differ by less than those of two clips."""
    write(tmp_path, SCORES, precision="bf16", device="cuda")
    assert read_normal(tmp_path, {**SETTINGS, "precision": "fp32", "device": "cpu"}).times_reached(0.6) == 1


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no scores"):
        read_normal(tmp_path, SETTINGS)
    for other in (
        [],
        3,
        {"settings": [1], "files": {}},
        {"settings": {}, "files": []},
        {"settings": {}, "files": {"a": 1}},
    ):
        (tmp_path / "manifest.json").write_text(json.dumps(other))
        with pytest.raises(ValueError, match="holds no scores"):
            read_normal(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="no finished scores"):
        read_normal(write(tmp_path, {}), SETTINGS)


def test_the_same_score_reaches_itself() -> None:
    """Theirs come from a CSV, an event's from the manifest with all of its digits."""
    score = 0.800484580408601
    assert NormalScores([np.array([0.0, float(f"{score:.9g}"), 0.0])], seconds=60).times_reached(score) == 1
