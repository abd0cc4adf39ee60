"""The command: from a folder of videos to a checkpoint, and one line for whatever is wrong."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from aedmae_fast import train
from aedmae_fast.engine.scorer import Scorer
from aedmae_fast.model.region import Region
from aedmae_fast.report.console import Console
from aedmae_fast.training import gather
from aedmae_fast.training.cache import Clips, listed_clips
from aedmae_fast.training.options import note_on_average
from aedmae_fast.training.parallel import Place
from aedmae_fast.training.settings import TrainSettings
from aedmae_fast.training.state import State
from aedmae_fast.training.synthetic import ProceduralAnomalies
from aedmae_fast.training.ubnormal import UBnormalAnomalies
from tests.clips import write_clip
from tests.conftest import TINY
from tests.training.scenes import make_clip, write_frames
from tests.training.ubnormal_tree import make_tree

SMALL = [
    "--recipe",
    "paper",
    "--height",
    "32",
    "--width",
    "64",
    "--patch",
    "16",
    "--batch-size",
    "16",
    "--device",
    "cpu",
    "--precision",
    "fp32",
]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for i in range(2):
        write_frames(tmp_path / "videos" / f"{i}", make_clip(20, seed=i))
    return tmp_path / "videos"


def command(videos: Path, out: Path, *more: str) -> list[str]:
    epochs = ["--teacher-epochs", "2", "--student-epochs", "1"]
    return ["--data", str(videos), "--out", str(out), *SMALL, *epochs, *more]


def test_from_videos_to_scores(videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train.main(command(videos, out, "--pictures", "2")) == 0
    said = capfd.readouterr().err
    for expected in ("network", "asked for", "teacher 2/2: loss", "student 1/1: loss", "left", "first loss", "ready"):
        assert expected in said
    with safe_open(str(out / "model.safetensors"), framework="pt") as file:
        header = file.metadata()
    assert header["data"] == "videos"
    assert json.loads(header["schedule"])["teacher_epochs"] == 2
    assert (header["seed"], header["epochs"]) == ("0", "3")
    assert "torch" in header["versions"]
    with (out / "log.csv").open() as file:
        assert [row["phase"] for row in csv.DictReader(file)] == ["teacher", "teacher", "student"]
    assert sorted(p.name for p in (out / "samples").glob("[!.]*")) == ["0002-teacher-0002.png", "0003-student-0001.png"]
    assert not list(out.rglob(".part-*"))
    scores = Scorer.from_pretrained(out / "model.safetensors", device="cpu", precision="fp32").score(videos / "0")
    assert scores.status == "ok"
    assert scores.frames == 20


def test_a_benchmark_knows_its_checkpoint(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the run's state; what a checkpoint does not tell is trained again."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    is_trained, out = importlib.import_module("training").is_trained, tmp_path / "run"
    begin = [sys.executable, "-m", "aedmae_fast.train"]
    assert not is_trained(begin + command(videos, out))
    assert train.main(command(videos, out, "--quiet")) == 0
    assert not is_trained(begin + command(videos, out))  # the command goes on from the state, and sees for itself
    (out / "state.pt").unlink()
    assert is_trained(begin + command(videos, out))
    assert not is_trained(begin + command(videos, out, "--seed", "1"))
    assert not is_trained(begin + command(videos, out, "--frames", "10"))


def test_a_region_is_learned_and_kept(videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Outside of it nothing changes a score; a run goes on with the same region only."""
    out, image = tmp_path / "run", tmp_path / "region.png"
    inside = np.zeros((32, 64), np.uint8)
    inside[:, :32] = 255
    Image.fromarray(inside).save(image)
    assert train.main(command(videos, out, "--region", str(image))) == 0
    assert f"50% of the picture  (white in {image})" in capfd.readouterr().err
    scorer = Scorer.from_pretrained(out / "model.safetensors", device="cpu", precision="fp32")
    assert scorer.choices["region"].why == "which the network was trained on"
    clip = make_clip(10)
    changed = clip.copy()
    changed[:, :, 32:] = 200
    np.testing.assert_array_equal(scorer.score_frames(clip).raw, scorer.score_frames(changed).raw)
    assert train.main(command(videos, out, "--resume")) == 2
    assert "region: was " in capfd.readouterr().err


def test_a_run_is_gone_on_with_by_the_same_anomalies_only(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tree(tmp_path / "ubnormal")
    of_ubnormal = command(videos, tmp_path / "run", "--anomalies", str(tmp_path / "ubnormal"))
    assert train.main(of_ubnormal) == 0
    assert "anomalies: 2 things of UBnormal" in capsys.readouterr().err
    assert train.main([*of_ubnormal, "--resume"]) == 0
    capsys.readouterr()
    (tracks,) = (tmp_path / "ubnormal").rglob("*_tracks.txt")
    tracks.write_text("2,5,19\n")
    assert train.main([*of_ubnormal, "--resume"]) == 2
    assert "anomalies: was 'UBnormal " in capsys.readouterr().err
    assert train.main([*command(videos, tmp_path / "run"), "--resume"]) == 2
    assert "now 'procedural'" in capsys.readouterr().err


def test_a_run_is_neither_overwritten_nor_resumed_by_accident(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train.main(command(videos, out, "--quiet")) == 0
    assert train.main(command(videos, out)) == 2
    assert "holds a run already: add --resume" in capsys.readouterr().err
    for more in (["--lr", "0.5"], ["--frames", "30"]):  # told before anything is decoded
        assert train.main(command(tmp_path / "nothing", out, "--resume", *more)) == 2
        name, value = more[0].strip("-"), more[1]
        assert f"{name}: was {'0.0001' if name == 'lr' else None}, now {value}" in capsys.readouterr().err
    (out / "log.csv").unlink()  # as if it had been killed just before
    assert train.main(command(videos, out, "--resume")) == 0
    assert "going on after 3 of 3 epochs" in capsys.readouterr().err
    assert len((out / "log.csv").read_text().splitlines()) == 1 + 3


def test_a_run_is_gone_on_with_whatever_became_of_its_videos(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its decoded clips are all that it takes; where one of them is damaged, its videos are looked for again."""
    out = tmp_path / "run"
    assert train.main(command(videos, out, "--quiet")) == 0
    (videos / "0").rename(tmp_path / "0")
    write_frames(videos / "2", make_clip(20, seed=2))
    assert train.main(command(videos, out, "--resume")) == 0
    assert f"2 training clips of {videos}" in capsys.readouterr().err
    damaged = min((out / "cache").glob("0-*.u8"))
    os.truncate(damaged, 0)
    assert train.main(command(videos, out, "--resume")) == 2
    said = capsys.readouterr().err
    assert f"{damaged}: expected a decoded clip, found it missing or damaged; taking them from {videos}" in said
    assert "data: was " in said
    (videos / "2").rename(tmp_path / "2")
    (tmp_path / "0").rename(videos / "0")
    assert train.main(command(videos, out, "--resume")) == 0
    assert "expected the clips that the run was started with, found others" in capsys.readouterr().err


def test_what_can_be_known_is_told_before_decoding(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "count_frames", lambda _: pytest.fail("looked at a video"))
    assert train.main(command(videos, tmp_path / "run", "--anomalies", ".")) == 2
    assert "scripts/abnormal_training_video_names.txt" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert train.main(command(videos, tmp_path / "run")) == 2
    assert "--batch-size: 16 does not divide among 3 processes" in capsys.readouterr().err


def test_in_memory_nothing_is_counted(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a sample and without a disk there is nothing to count for."""
    monkeypatch.setattr(gather, "count_frames", lambda _: pytest.fail("counted"))
    in_memory = command(videos, tmp_path / "run", "--cache", "memory", "--class-weight", "0")
    assert train.main([*in_memory, "--quiet"]) == 0
    assert not (tmp_path / "run" / "cache").exists()
    assert train.main([*in_memory, "--resume"]) == 0
    assert "going on after 3 of 3 epochs" in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gather, "cut_objects", interrupted)
    assert train.main(command(videos, tmp_path / "run")) == 130
    assert "--resume" not in capsys.readouterr().err
    (tmp_path / "run" / "state.pt").touch()
    monkeypatch.setattr(train, "load_state", lambda *_, **__: State({"data": ""}))
    assert train.main(command(videos, tmp_path / "run", "--resume")) == 130
    assert "with --resume goes on from there" in capsys.readouterr().err


def test_a_run_among_its_videos_is_gone_on_with(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its curves and pictures are no frames of a video."""
    assert train.main(command(videos, videos / "run", "--quiet", "--pictures", "1")) == 0
    assert train.main(command(videos, videos / "run", "--resume")) == 0
    assert "2 training clips" in capsys.readouterr().err


def test_names_of_any_kind_and_what_is_left_out(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = videos.rename(tmp_path / os.fsdecode(b"vid\xe9os"))
    (data / "3.mp4").symlink_to("nothing")
    assert train.main(command(data, tmp_path / "run", "--quiet")) == 0
    assert "vid\\xe9os/3.mp4: left out: a link to nothing" in capsys.readouterr().err
    with safe_open(str(tmp_path / "run" / "model.safetensors"), framework="pt") as file:
        assert file.metadata()["data"] == "vid\\xe9os"


def test_a_sample_of_long_videos(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of an archive only pieces are decoded and trained on, by the recipe for a camera of one's own."""
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / "videos" / name, frames=900, options={"preset": "ultrafast"})
    network = ["--height", "32", "--width", "80", "--patch", "8", "--student-epochs", "0", "--teacher-epochs", "1"]
    out = ["--data", str(tmp_path / "videos"), "--out", str(tmp_path / "run"), "--device", "cpu", *network]
    assert train.main([*out, "--frames", "600", "--precision", "fp32"]) == 0
    said = capfd.readouterr().err
    assert "recipe     short  (ours, for two cores; --recipe takes another)" in said
    assert "36 of 40 tokens visible" in said
    assert "about 600 of 1800 frames: 3 pieces of ten seconds or so (--frames)" in said
    decoded = listed_clips(tmp_path / "run" / "cache", (32, 80))
    assert [len(frames) for frames in decoded.frames] == [225] * 3


def test_a_disk_that_is_too_small_is_told_before_decoding(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    assert train.main(command(videos, tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert "expected room for 40 decoded frames, 0.0 GB, found 0.0 GB; --frames N trains on a sample" in said
    assert not (tmp_path / "run" / "cache").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--frames", "0"], "--frames: expected at least 1, found 0"),
        (["--layout", "avenue"], "training_videos"),
        (["--patch", "15"], "not a multiple of patch"),
        (["--lr", "-1"], "lr"),
        (["--device", "cuda:99"], "device"),
        (["--anomalies", "."], "scripts/abnormal_training_video_names.txt"),
        (["--region", "pyproject.toml"], "pyproject.toml is no whole image"),
    ],
)
def test_errors_are_clear(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    assert train.main(command(videos, tmp_path / "run", *options)) == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert expected in said
    assert "Traceback" not in said


def test_test_clips_alone_are_nothing_to_train_on(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "test" / "labels").mkdir(parents=True)
    (videos / "0").rename(tmp_path / "data" / "test" / "0")
    (tmp_path / "data" / "test" / "labels" / "0.txt").write_text("0\n" * 20)
    assert train.main(command(tmp_path / "data", tmp_path / "run", "--layout", "clips")) == 2
    assert "no training clips" in capsys.readouterr().err


def test_an_empty_folder_and_a_folder_without_a_video_to_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert train.main(command(tmp_path / "empty", tmp_path / "run")) == 2
    assert "empty" in capsys.readouterr().err
    (tmp_path / "empty" / "a.mp4").write_bytes(b"no video at all")
    assert train.main(command(tmp_path / "empty", tmp_path / "run")) == 2
    assert "none of 1 training clips can be decoded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ema", "epochs", "expected"),
    [(0.0, 10, None), (0.998, 30, None), (0.998, 10, "at most 0.994"), (0.9, 1, None), (0.99, 0, None)],
)
def test_an_average_that_lags_is_told(ema: float, epochs: int, expected: str | None) -> None:
    """Of 10 epochs of 79 steps, 0.998 averages 500: what that gives is far from what was learned."""
    note = note_on_average(TrainSettings(teacher_epochs=epochs, student_epochs=1, ema=ema), 79)
    assert note is None if expected is None else note is not None and expected in note


def test_anomalies_are_cut_and_placed_in_the_region(tmp_path: Path) -> None:
    """Procedural ones and UBnormal's."""
    make_tree(tmp_path / "ubnormal")
    inside = np.zeros((TINY.height, TINY.width), np.bool_)
    inside[20:24, 30:34] = True
    clip = make_clip()
    clip[:, ~inside] = 0  # as they are decoded
    options = argparse.Namespace(
        data=tmp_path, out=tmp_path, cache="memory", anomalies=tmp_path / "ubnormal", quiet=True
    )
    gathering = gather.Gathering(options, TINY, Region(torch.from_numpy(inside)), 1, Console(quiet=True), Place())
    clips, ubnormal = Clips((), (clip,), (), ""), gathering.ubnormal()
    for found in (None, ubnormal):
        frames = gathering.frames(clips, found, TrainSettings())
        source, textures = frames.source, frames.cutouts.textures
        assert isinstance(source, ProceduralAnomalies if found is None else UBnormalAnomalies)
        np.testing.assert_array_equal(source.inside, inside)
        assert textures[:, textures.shape[1] // 2, textures.shape[2] // 2].any(axis=-1).all()


def test_two_processes_of_the_command_are_one(videos: Path, tmp_path: Path) -> None:
    """But for rounding; without dropout, which draws another stream in each process."""
    one, two = (
        command(videos, tmp_path / name, "--teacher-epochs", "1", "--student-epochs", "0", "--dropout", "0")
        for name in ("one", "two")
    )
    assert train.main([*one, "--quiet"]) == 0
    begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*begin, "-m", "aedmae_fast.train", *two],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ready after") == 1
    losses = []
    for run in (tmp_path / "one", tmp_path / "two"):
        with (run / "log.csv").open() as file:
            losses.append([float(row["total"]) for row in csv.DictReader(file)])
        assert (run / "model.safetensors").is_file()
        assert len(list((run / "cache").iterdir())) == 3  # a file a clip, and their list
    assert len(losses[0]) == 1
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_on_disk_the_first_process_decodes_for_all(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait until it has."""
    options = argparse.Namespace(data=videos, out=tmp_path / "run", cache="disk", frames=None, quiet=True)
    first, other = (gather.Gathering(options, TINY, None, 1, Console(quiet=True), Place(rank, 2)) for rank in range(2))
    paths, waited, decoding, found = [videos / "0", videos / "1"], [], [], []
    load_clips = gather.load_clips

    def load(*arguments: Any) -> Clips:
        decoding.append(arguments)
        return load_clips(*arguments)

    def barrier(place: Place) -> None:
        waited.append(place.rank)
        if place is other.place:
            found.append(first.clips(None, paths))

    options.out.mkdir()
    monkeypatch.setattr(gather, "load_clips", load)
    monkeypatch.setattr(gather, "barrier", barrier)
    clips = other.clips(None, paths)
    assert waited == [1, 0]
    assert len(decoding) == 1
    assert clips.fingerprint == found[0].fingerprint
    assert [len(frames) for frames in clips.frames] == [20, 20]


def test_more_processes_than_frames(videos: Path, tmp_path: Path) -> None:
    options = argparse.Namespace(data=videos, out=tmp_path, cache="memory", frames=None, quiet=True)
    place = Place(world=3)
    gathering = gather.Gathering(options, TINY, None, 1, Console(quiet=True), place)
    clips = Clips((), (np.zeros((2, TINY.height, TINY.width, 3), np.uint8),), (), "")
    with pytest.raises(ValueError, match="2 frames for 3 processes; start at most 2"):
        gathering.frames(clips, None, TrainSettings())
