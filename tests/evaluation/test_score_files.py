"""Finished scores, found, and what the manifest knows of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aedmae_fast.evaluation.score_files import find_csv, read_maps, read_settings


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


def test_maps_are_those_that_the_manifest_names(tmp_path: Path) -> None:
    files = [tmp_path / "a.mp4.csv", tmp_path / "b.mp4.csv", tmp_path / "c.mp4.csv", tmp_path / "d.mp4.csv"]
    assert read_maps(tmp_path, files) == [None] * 4  # no manifest
    entries = {"a.mp4": {"maps": "a.mp4.npy"}, "b.mp4": {"maps": None}, "c.mp4": {"maps": "gone.npy"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": entries}))
    np.save(tmp_path / "a.mp4.npy", np.ones((3, 2, 2), np.float16))
    first, *others = read_maps(tmp_path, files)
    assert first is not None
    assert first.shape == (3, 2, 2)
    assert others == [None] * 3
    (tmp_path / "manifest.json").write_text('{"files": []}')
    assert read_maps(tmp_path, files) == [None] * 4
