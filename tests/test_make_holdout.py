"""benchmarks/make_holdout.py: labelled clips out of normal ones, in a layout that the commands read."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aedmae_fast.evaluation.layouts import read_dataset
from aedmae_fast.training.cache import Clips, load_clips
from aedmae_fast.training.sample import Piece
from tests.training.scenes import make_clip, write_frames

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "benchmarks" / "make_holdout.py"), "--layout", "clips"]


def test_every_fourth_clip_gets_an_anomaly_of_every_kind(tmp_path: Path) -> None:
    out = tmp_path / "holdout"
    subprocess.run([*COMMAND, "--data", str(ROOT / "examples" / "scene"), "--out", str(out)], check=True)
    dataset = read_dataset(out, "clips")
    assert [path.name for path in dataset.train] == ["01.mp4", "02.mp4", "03.mp4"]
    assert [clip.name for clip in dataset.test] == ["04-cart", "04-cyclist", "04-runner"]
    (original,) = load_clips([Piece(ROOT / "examples" / "scene" / "train" / "04.mp4")], (240, 320), None).frames
    for clip in dataset.test:
        masks = np.stack(list(clip.masks()))
        assert masks.shape == (240, 240, 320)
        np.testing.assert_array_equal(clip.labels, masks.any(axis=(1, 2)))
        assert 20 <= clip.labels.sum() <= 90
        frames = np.stack([np.asarray(Image.open(path))[..., ::-1] for path in sorted(clip.path.iterdir())])
        pasted = (frames != original).any(axis=-1)
        assert (pasted & masks).sum() > 0.9 * masks.sum()
        assert 200 < (pasted & ~masks).sum() < 0.05 * pasted.size  # what is pasted and nothing unusual
        assert (pasted & ~masks).any(axis=(1, 2)).sum() >= 20

    run = tmp_path / "run"
    run.mkdir()
    (run / "model.safetensors").symlink_to(ROOT / "aedmae_fast" / "weights" / "scene.safetensors")
    command = [sys.executable, str(ROOT / "benchmarks" / "compare.py"), "--runs", str(run), "--data", str(out)]
    done = subprocess.run([*command, "--json", str(tmp_path / "c.json")], check=True, capture_output=True, text=True)
    report = json.loads((tmp_path / "c.json").read_text())
    (row,) = report["rows"]
    assert row["header"]["seed"] == "0"
    assert row["by_set"]["micro_auc"] == [row["mean"]["micro_auc"]]
    assert 90 < row["mean"]["micro_auc"] <= 100
    assert row["mean"]["micro_auc"] > report["frame_difference"]["mean"]["micro_auc"]
    assert [text.split(" micro")[0].strip() for text in done.stdout.splitlines()[:2]] == ["run", "frame difference"]


def test_of_long_videos_a_sample_is_held_out(tmp_path: Path) -> None:
    """Two cameras whose clips have the same names, with dots; of each, ten seconds here and there."""
    for camera in ("a", "b"):
        for hour in range(4):
            write_frames(tmp_path / "videos" / camera / f"2024.{hour}", make_clip(512, seed=hour))
    command = [sys.executable, str(ROOT / "benchmarks" / "make_holdout.py"), "--data", str(tmp_path / "videos")]
    subprocess.run([*command, "--out", str(tmp_path / "holdout"), "--frames", "512"], check=True)
    dataset = read_dataset(tmp_path / "holdout", "clips")
    assert [path.name for path in dataset.train] == [f"{camera}-2024.{hour}" for camera in "ab" for hour in range(3)]
    assert [clip.name for clip in dataset.test] == [
        f"{piece}-{kind}" for piece in ("a-2024.3-10s", "b-2024.3-10s") for kind in ("cart", "cyclist", "runner")
    ]
    assert all(len(clip.labels) == 256 for clip in dataset.test)


def test_nobody_walks_through_another_cameras_clips(tmp_path: Path) -> None:
    """The second camera sees the same things four rows lower. Its first clip held out cannot be read."""
    for hour in range(4):
        for camera in range(2):
            clip = np.roll(make_clip(160, seed=hour, camera=camera), 4 * camera, axis=1)
            write_frames(tmp_path / "videos" / f"camera{camera}" / f"{hour}", clip)
    for name in ("0.mp4", "1.mp4", "2.mp4", "3.mp4"):
        (tmp_path / "videos" / "a" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "videos" / "a" / name).write_text("no video")
    command = [sys.executable, str(ROOT / "benchmarks" / "make_holdout.py"), "--data", str(tmp_path / "videos")]
    subprocess.run([*command, "--out", str(tmp_path / "new" / "holdout")], check=True)
    test = read_dataset(tmp_path / "new" / "holdout", "clips").test
    kinds = ("cart", "cyclist", "runner")
    assert [clip.name for clip in test] == [f"camera{camera}-3-{kind}" for camera in range(2) for kind in kinds]
    original = make_clip(160, seed=3)
    for clip in test[:3]:
        frames = np.stack([np.asarray(Image.open(path))[..., ::-1] for path in sorted(clip.path.iterdir())])
        decoys = (frames != original).any(axis=-1) & ~np.stack(list(clip.masks()))
        assert decoys.any()
        assert not decoys[:, 29:].any()  # where only the second camera's things are
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["holdout"]


def test_each_seed_is_a_set_of_its_own_decoded_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out clips at their full size may be more than the memory holds."""
    for hour in range(4):
        write_frames(tmp_path / "videos" / f"{hour}", make_clip(120, seed=hour))
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    make_holdout = importlib.import_module("make_holdout")
    decoded_to: list[Path | None] = []

    def load(pieces: Any, size: Any, folder: Path | None) -> Clips:
        decoded_to.append(folder)
        return load_clips(pieces, size, folder)

    monkeypatch.setattr(make_holdout, "load_clips", load)
    sets = []
    for out, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        arguments = ["--data", str(tmp_path / "videos"), "--out", str(tmp_path / out), "--seed", seed]
        monkeypatch.setattr(sys, "argv", ["make_holdout.py", *arguments])
        make_holdout.main()
        test = tmp_path / out / "test"
        sets.append({path.relative_to(test): path.read_bytes() for path in test.rglob("*.*") if path.is_file()})
    assert sets[0] == sets[1]
    masks = [path for path in sets[0] if path.suffix == ".npz"]
    assert len(masks) == 3
    assert all(sets[0][path] != sets[2][path] for path in masks)
    assert all(folder is not None and folder.parent == tmp_path for folder in decoded_to)


def test_what_is_there_already_is_told_before_anything_is_decoded(tmp_path: Path) -> None:
    run = subprocess.run(
        [*COMMAND, "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "exists already" in run.stderr


def test_two_clips_that_would_have_one_name(tmp_path: Path) -> None:
    for name in ("a-b/c", "a/b-c", "d", "e"):
        write_frames(tmp_path / "videos" / name, make_clip(2))
    command = [sys.executable, str(ROOT / "benchmarks" / "make_holdout.py"), "--data", str(tmp_path / "videos")]
    run = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "rename one" in run.stderr


def test_too_few_clips(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("01.mp4", "02.mp4"):
        (tmp_path / "train" / name).symlink_to(ROOT / "examples" / "scene" / "train" / name)
    run = subprocess.run(
        [*COMMAND, "--data", str(tmp_path), "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "at least 4 training clips are needed, found 2" in run.stderr


def test_where_nothing_moves_nothing_is_left_behind(tmp_path: Path) -> None:
    """So that the same command can be said again."""
    for name in "abcd":
        write_frames(tmp_path / "videos" / name, make_clip(40)[:1].repeat(40, axis=0))
    command = [sys.executable, str(ROOT / "benchmarks" / "make_holdout.py"), "--data", str(tmp_path / "videos")]
    run = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "nothing moves by itself in the held-out clips" in run.stderr
    assert not (tmp_path / "out").exists()
