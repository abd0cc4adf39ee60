"""``python -m aedmae_fast.score`` as a person uses it, and everything an archive can hold."""

from __future__ import annotations

import base64
import csv
import errno
import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aedmae_fast.engine import feed as feed_module
from aedmae_fast.engine import scorer as scorer_module
from aedmae_fast.engine.clip import ClipState
from aedmae_fast.engine.job import JOURNAL, Job
from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import native
from aedmae_fast.report import console
from aedmae_fast.score import BROKEN_OFF, OK, SOME_NOT_OK, USAGE, main
from aedmae_fast.text import printable
from tests.clips import cut, damage_packets, write_clip

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def checkpoint(tiny_model: AedMae, tmp_path: Path) -> Path:
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    write_clip(folder / "one.mp4", frames=8)
    write_clip(folder / "sub" / "two.mkv", frames=12)
    return folder


@pytest.fixture
def score(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; exit code, stdout, stderr."""

    def run(*arguments: object, **how: object) -> tuple[int, str, str]:
        defaults = {"--checkpoint": checkpoint, "--out": tmp_path / "scores"}
        given = [str(a) for a in arguments]
        for name, value in defaults.items():
            if name not in given:
                given += [name, str(value)]
        code = main(given)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


def manifest(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "scores" / "manifest.json").read_text()))


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# ---- what it does ----


def test_a_folder(score: Run, videos: Path, tmp_path: Path) -> None:
    code, out, err = score("--dir", videos)
    assert code == OK
    assert out == ""
    assert len(rows(tmp_path / "scores" / "one.mp4.csv")) == 8
    assert len(rows(tmp_path / "scores" / "sub" / "two.mkv.csv")) == 12
    for chosen in ("checkpoint", "device", "precision", "preset", "batch size", "workers", "decoder"):
        assert f"  {chosen}" in err
    table = [line.split() for line in err.splitlines() if line.startswith(("one.mp4 ", "sub/two.mkv "))]
    assert [(row[0], row[1], row[-1]) for row in table] == [("one.mp4", "8", "ok"), ("sub/two.mkv", "12", "ok")]
    assert "2 files, 0 not ok; 20 frames scored" in err
    settings = manifest(tmp_path)["settings"]
    assert settings["preset"] == "anomaly-map"
    assert len(settings["weights_sha256"]) == 64
    assert "torch" in json.dumps(manifest(tmp_path)["environment"])


def test_files(score: Run, videos: Path, tmp_path: Path) -> None:
    assert score(videos / "one.mp4", videos / "sub" / "two.mkv")[0] == OK
    assert (tmp_path / "scores" / "one.mp4.csv").is_file()
    assert (tmp_path / "scores" / "sub" / "two.mkv.csv").is_file()


def test_a_second_run_skips_and_says_so(score: Run, videos: Path) -> None:
    score("--dir", videos)
    code, _, err = score("--dir", videos)
    assert code == OK
    assert "2 of 2 are finished under these settings" in err
    assert "0 frames scored" in err
    assert "2 files, 0 not ok" in err
    assert "20 frames scored" in score("--dir", videos, "--overwrite")[2]


def test_other_settings_do_not_mix(score: Run, videos: Path) -> None:
    score("--dir", videos, "--precision", "fp32")
    for flag, other, change in (
        ("--preset", "release-avenue", "preset: 'anomaly-map', now 'release-avenue'"),
        ("--precision", "bf16", "precision: 'fp32', now 'bf16'"),
    ):
        code, _, err = score("--dir", videos, "--precision", "fp32", flag, other)
        assert code == USAGE
        assert change in err


@pytest.mark.skipif(len(native.cpu().isas()) < 2, reason="the CPU has one instruction set only")
def test_scores_of_another_instruction_set_do_not_mix(score: Run, videos: Path) -> None:
    """They differ in the last bits: an archive that another machine goes on with would not be scored alike."""
    given = ("--dir", videos, "--device", "cpu", "--precision", "fp32")
    native.cpu().set_isa("base")
    try:
        assert score(*given)[0] == OK
        assert "2 of 2 are finished" in score(*given)[2]
    finally:
        native.cpu().set_isa("auto")
    code, _, err = score(*given)
    assert code == USAGE
    assert f"device: 'cpu (base)', now 'cpu ({native.cpu().isa()})'" in err


def test_int8_beside_bf16_is_not_int8_beside_fp32(
    score: Run, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume on a CPU with other arithmetic would mix two precisions."""
    given = ("--dir", videos, "--device", "cpu", "--precision", "int8")
    monkeypatch.setattr(native, "cpu_has_bf16", lambda: False)
    assert score(*given)[0] == OK
    assert manifest(tmp_path)["settings"]["precision"] == "int8+fp32"
    assert "2 of 2 are finished" in score(*given)[2]
    monkeypatch.setattr(native, "cpu_has_bf16", lambda: True)
    code, _, err = score(*given)
    assert code == USAGE
    assert "precision: 'int8+fp32', now 'int8+bf16'" in err


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_region(score: Run, videos: Path, tmp_path: Path, device: str) -> None:
    image = tmp_path / "region.png"
    Image.new("L", (4, 4), 255).save(image)
    for left, share in ((2, 50), (1, 25)):
        Image.fromarray(np.repeat([[255] * left + [0] * (4 - left)], 4, axis=0).astype(np.uint8)).save(image)
        arguments = ["--dir", videos, "--device", device, "--region", image, "--out", tmp_path / f"{share}"]
        code, _, err = score(*arguments)
        assert code == OK
        assert f"{share}% of the picture  (white in {image})" in err
        found = rows(tmp_path / f"{share}" / "one.mp4.csv")
        assert all(float(row["x"]) < 128 * share / 100 + 8 for row in found)  # and half a filter
        assert score(*arguments, "--report")[2].count("2 of 2 are finished") == 1
    still = re.search(r"image/jpeg;base64,([^\"]+)", (tmp_path / "25" / "report.html").read_text())
    assert still is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(still[1]))))
    assert pixels[:, 40:].mean() < 70 < pixels[:, :30].mean()
    code, _, err = score("--dir", videos, "--out", tmp_path / "25")
    assert code == USAGE
    assert "region: " in err
    code, _, err = score("--dir", videos, "--region", tmp_path / "none.png")
    assert code == USAGE
    assert "none.png" in err


def test_normal_scores_are_not_those_to_be_scored(score: Run, videos: Path, tmp_path: Path) -> None:
    assert score("--dir", videos)[0] == OK
    code, _, err = score("--dir", videos, "--report", "--normal", tmp_path / "scores")
    assert code == USAGE
    assert "is --out itself" in err


def test_json(score: Run, videos: Path) -> None:
    code, out, _ = score("--dir", videos, "--json")
    report = json.loads(out)
    assert code == OK
    assert report["frames"] == 20
    assert report["not_ok"] == 0
    assert sorted(report["files"]) == ["one.mp4", "sub/two.mkv"]


def test_quiet(score: Run, videos: Path) -> None:
    assert score("--dir", videos, "--quiet") == (OK, "", "")


def test_include_and_exclude(score: Run, videos: Path, tmp_path: Path) -> None:
    score("--dir", videos, "--include", "*.mkv")
    assert list(manifest(tmp_path)["files"]) == ["sub/two.mkv"]
    _, _, said = score("--dir", videos, "--exclude", "sub/*", "--overwrite")
    assert "1 files, 0 not ok; 8 frames" in said
    assert list(manifest(tmp_path)["files"]) == ["one.mp4", "sub/two.mkv"]


@pytest.mark.parametrize(("out", "stride"), [(".", 1), ("sub", 1), ("scores", 2)])
def test_scores_may_lie_among_the_videos(score: Run, videos: Path, out: str, stride: int) -> None:
    """What is in the output folder is scored, too, but for plots of ours, wherever they lie."""
    (videos / "frames").mkdir()
    Image.new("RGB", (32, 32)).save(videos / "frames" / "1.png")
    (videos / "frames" / "1.csv").write_text("x,y\n")  # not of ours
    names = ["frames", "one.mp4", "sub/two.mkv"]
    options = "--dir", videos, "--stride", stride, "--out"
    assert score(*options, videos / out, "--plot")[0] == OK
    assert sorted(json.loads((videos / out / "manifest.json").read_text())["files"]) == names
    assert "3 of 3 are finished" in score(*options, videos / out)[2]
    assert score(*options, videos / "others", "--json")[0] == OK
    assert sorted(json.loads((videos / "others" / "manifest.json").read_text())["files"]) == names


def test_the_report_refuses_scores_that_do_not_compare(score: Run, videos: Path) -> None:
    stretched = ("--dir", videos, "--preset", "release-shanghaitech", "--report")
    code, _, said = score(*stretched)
    assert (code, "--report: the preset release-shanghaitech stretches" in said) == (USAGE, True)
    assert score(*stretched, "--smooth", "none")[0] == OK


def test_stride_is_flagged(score: Run, videos: Path, tmp_path: Path) -> None:
    score("--dir", videos, "--stride", "3", "--smooth", "none")
    found = rows(tmp_path / "scores" / "one.mp4.csv")
    assert [row["interpolated"] for row in found] == ["0", "1", "1", "0", "1", "1", "0", "1"]
    assert all(row["score"] == row["raw"] for row in found)


def test_plot(score: Run, videos: Path, tmp_path: Path) -> None:
    assert score("--dir", videos, "--plot")[0] == OK
    for name in ("one.mp4", "sub/two.mkv"):
        assert (tmp_path / "scores" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_plots_asked_for_later(score: Run, videos: Path, tmp_path: Path) -> None:
    score("--dir", videos)
    assert "2 of 2 are finished" in score("--dir", videos, "--plot")[2]
    for name in ("one.mp4", "sub/two.mkv"):
        assert (tmp_path / "scores" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "2 of 2 are finished" in score("--dir", videos, "--plot")[2]


def test_plots_of_other_scores_do_not_stay(score: Run, videos: Path, tmp_path: Path) -> None:
    """Nor those of a video that can be read no more; pictures that are not ours do."""
    given, out = ("--dir", videos, "--include", "one.mp4"), tmp_path / "scores"
    assert score(*given, "--preset", "paper", "--plot")[0] == OK
    before = (out / "one.mp4.png").read_bytes()
    assert score(*given, "--preset", "release-avenue", "--overwrite")[0] == OK
    assert not (out / "one.mp4.png").exists()
    assert score(*given, "--preset", "release-avenue", "--plot")[0] == OK
    assert (out / "one.mp4.png").read_bytes() != before
    (videos / "one.mp4").write_text("no video")
    assert score(*given, "--preset", "release-avenue")[0] == SOME_NOT_OK
    assert not (out / "one.mp4.png").exists()
    foreign = out / "sub" / "two.mkv.png"
    given = ("--dir", videos, "--include", "*.mkv", "--preset", "release-avenue")
    assert score(*given)[0] == OK
    foreign.write_text("not ours")
    assert score(*given, "--overwrite")[0] == OK
    assert foreign.read_text() == "not ours"


@pytest.mark.parametrize("preset", ["anomaly-map", "release-avenue"])
def test_maps(score: Run, videos: Path, tmp_path: Path, preset: str) -> None:
    """What the scores in the CSV are pooled from; asked for later, files are scored again."""
    given = ("--dir", videos, "--preset", preset, "--smooth", "none")
    out = tmp_path / "scores"
    assert score(*given)[0] == OK
    assert not list(out.rglob("*.npy"))
    code, _, err = score(*given, "--maps")
    assert code == OK
    assert "20 frames scored" in err
    assert "float16 32x64  (4 kB a frame" in err
    for name, entry in manifest(tmp_path)["files"].items():
        assert entry["maps"] == f"{name}.npy"
        maps = np.load(out / entry["maps"], mmap_mode="r")
        lines = rows(out / entry["output"])
        assert maps.shape == (len(lines), 32, 64)
        for values, row in zip(maps.astype(np.float64), lines, strict=True):
            pooled = values.max() + float(row["class_prob"]) if preset == "anomaly-map" else values.mean()
            assert float(row["raw"]) == pytest.approx(pooled, rel=1e-3)
    assert "2 of 2 are finished" in score(*given, "--maps")[2]
    assert "2 of 2 are finished" in score(*given)[2]
    assert "maps" not in manifest(tmp_path)["settings"]


def test_report(score: Run, videos: Path, tmp_path: Path) -> None:
    """Made anew from what is finished, and of videos that are gone in part."""
    page = tmp_path / "scores" / "report.html"
    code, _, err = score("--dir", videos, "--report")
    assert code == OK
    files = manifest(tmp_path)["files"]
    events = [event for entry in files.values() for event in entry["events"]]
    assert 1 <= len(events) == page.read_text().count("<img ")
    assert f"report.html: the {len(events)} highest events" in err
    for name, entry in files.items():
        row = rows(tmp_path / "scores" / f"{name}.csv")[entry["events"][0]["frame"]]
        assert (row["x"], row["y"]) == (str(entry["events"][0]["x"]), str(entry["events"][0]["y"]))
        assert float(row["time_s"]) == entry["events"][0]["time_s"]
    before = page.read_bytes()
    page.unlink()
    assert score("--dir", videos, "--report")[0] == OK
    assert page.read_bytes() == before
    page.unlink()
    page.mkdir()
    code, _, err = score("--dir", videos, "--report")
    assert code == OK
    assert "cannot write" in err


def test_a_report_that_takes_long_says_how_far_it_is(score: Run, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "events are done" not in score("--dir", videos, "--report")[2]
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0.0)
    err = score("--dir", videos, "--report")[2]
    assert re.search(r"making .*report\.html: [1-9] of \d+ events are done", err)


def test_report_beside_normal_videos(score: Run, videos: Path, tmp_path: Path) -> None:
    """The same ones here: each event was reached at least by itself."""
    normal, page = tmp_path / "normal", tmp_path / "scores" / "report.html"
    assert score("--dir", videos, "--out", normal)[0] == OK
    code, _, err = score("--dir", videos, "--report", "--normal", normal)
    assert code == OK
    assert f"min  (scores in {normal})" in err
    cards = re.findall(r"<small>score [^;]*, as high .* of normal video, [^;]* an hour; shown: ", page.read_text())
    assert len(cards) == sum(len(entry["events"]) for entry in manifest(tmp_path)["files"].values())
    for given, said in (
        (["--normal", normal], "add --report"),
        (["--normal", tmp_path, "--report"], "holds no scores"),
        (["--normal", normal, "--report", "--preset", "release-avenue"], "scores of preset"),
    ):
        code, _, err = score("--dir", videos, *given, "--out", tmp_path / "other")
        assert code == USAGE
        assert said in err
    assert not (tmp_path / "other").exists()


def test_results_inside_the_folder_are_not_taken_for_frames(score: Run, videos: Path) -> None:
    out = videos / "scores"
    assert score("--dir", videos, "--plot", "--out", out)[0] == OK
    assert "2 of 2 are finished" in score("--dir", videos, "--plot", "--out", out)[2]


def test_frame_folders(score: Run, tmp_path: Path) -> None:
    from PIL import Image

    clip = tmp_path / "Test" / "Test001"
    clip.mkdir(parents=True)
    for t in range(5):
        Image.new("L", (48, 32), 40 * t).save(clip / f"{t + 1:03}.tif")
    assert score("--dir", tmp_path / "Test")[0] == OK
    assert len(rows(tmp_path / "scores" / "Test001.csv")) == 5
    assert score("--dir", clip, "--out", tmp_path / "one")[0] == OK
    assert len(rows(tmp_path / "one" / "Test001.csv")) == 5


# ---- usage ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either video files or --dir"),
        (["--dir", "nowhere"], "nowhere"),
        (["x.mp4", "--include", "*"], "--include and --exclude choose among the videos of --dir"),
        (["x.mp4", "--checkpoint", "none.safetensors"], "none.safetensors: no such checkpoint"),
        (["x.mp4", "--device", "cuda:7"], "torch sees"),
        (["x.mp4", "--batch-size", "zero"], "batch_size: expected auto or a whole number"),
        (["x.mp4", "--stride", "0"], "stride: expected a whole number from 1"),
    ],
)
def test_usage(score: Run, arguments: list[str], message: str) -> None:
    code, out, err = score(*arguments)
    assert code == USAGE
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_disk_that_does_not_answer(score: Run, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends, and what it has not scored stays to be done."""
    answers, names = threading.Event(), ["0.mp4", "1.mp4", "one.mp4"]
    for name in names[:2]:
        write_clip(videos / name, frames=3)

    def hang(path: Path, *rest: Any) -> Any:
        if path.name in names:
            answers.wait(60)
        return opened(path, *rest)

    opened = scorer_module.open_video
    with monkeypatch.context() as patch:
        for name, value in {"HANGS": 1.0, "LOOK": 0.01, "CLOSING": 0.1}.items():
            patch.setattr(feed_module, name, value)
        patch.setattr(scorer_module, "open_video", hang)
        code, _, err = score("--dir", videos, "--workers", "1")
    answers.set()
    assert code == SOME_NOT_OK
    assert "error: 2 files in a row gave nothing for 1 seconds: the disk or the network does not answer" in err
    assert "what is finished is kept, and the same command goes on from there" in err
    assert score("--dir", videos)[0] == OK
    assert sorted(manifest(tmp_path)["files"]) == [*names, "sub/two.mkv"]


@pytest.mark.parametrize("error", [ValueError("no"), OSError(5, "no"), RuntimeError("CUDA error"), MemoryError()])
def test_what_nobody_expected_is_no_usage(
    checkpoint: Path,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    """Its traceback is shown, and the next run takes what was in hand last, in a process of its own."""

    def broken(*_: object) -> None:
        raise error

    given = ["--dir", str(videos), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "scores")]
    with monkeypatch.context() as patch:
        patch.setattr(ClipState, "result", broken)
        assert main(given) == BROKEN_OFF
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert type(error).__name__ in err
    assert "what is finished is kept, and the same command goes on" in err
    assert main(given) == OK
    assert "were in hand when a run was killed: they come last" in capsys.readouterr().err


def test_folders_without_videos(score: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = score("--dir", tmp_path / "empty")
    assert code == USAGE
    assert "no videos in" in err
    (tmp_path / "empty" / "notes.txt").write_text("none here")
    code, _, err = score("--dir", tmp_path / "empty")
    assert (code, "1 other file left out (.txt)" in err) == (USAGE, True)
    for name in ("more.txt", "camera.log"):
        (tmp_path / "empty" / name).touch()
    assert "3 other files left out (.txt, .log)" in score("--dir", tmp_path / "empty")[2]
    assert not (tmp_path / "scores").exists()


def test_an_out_that_cannot_be_written(score: Run, videos: Path, tmp_path: Path) -> None:
    code, _, err = score("--dir", videos, "--out", videos / "one.mp4" / "scores")
    assert code == USAGE
    assert "cannot write here (Not a directory)" in err


def test_a_disk_that_is_full_at_the_end(
    score: Run, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was scored is found by the next run, which has room for the manifest."""
    write_manifest = Job._write_manifest

    def full(job: Job, *of_the_end: Any) -> None:
        if of_the_end:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_manifest(job)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "_write_manifest", full)
        code, _, err = score("--dir", videos)
    assert code == SOME_NOT_OK
    manifest = tmp_path / "scores" / "manifest.json"
    assert f"error: cannot write {manifest}: No space left on device; make room and run again" in err
    assert (tmp_path / "scores" / JOURNAL).is_file()
    code, _, err = score("--dir", videos)
    assert code == OK
    assert "2 of 2 are finished" in err


def test_kernels_that_were_never_built(score: Run, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native.cpu.cache_clear()
    monkeypatch.setitem(sys.modules, "aedmae_fast._cpu", None)
    try:
        code, _, err = score("--dir", videos)
    finally:
        native.cpu.cache_clear()
    assert code == USAGE
    assert err.count("\n") == 1
    assert "build them with `pip install -e .`" in err


def test_nan_in_the_weights(score: Run, videos: Path, tiny_model: AedMae, tmp_path: Path) -> None:
    with torch.no_grad():
        tiny_model.norm.weight[2] = torch.nan
    save_model(tiny_model, tmp_path / "nan.safetensors")
    code, _, err = score("--dir", videos, "--checkpoint", tmp_path / "nan.safetensors")
    assert code == USAGE
    assert "key 'norm.weight': 1 of 16 values are NaN or infinite" in err


# ---- a real archive ----


def test_an_archive_with_everything_wrong(score: Run, tmp_path: Path) -> None:
    """One run; each trouble gets its status, and every good file its scores."""
    folder = tmp_path / "archive"
    (folder / "deep").mkdir(parents=True)
    write_clip(folder / "good.mp4", frames=10)
    write_clip(folder / "good.mkv", frames=11)  # differs in its extension only
    write_clip(folder / "one frame.mp4", frames=1)
    write_clip(folder / "line\nbreak ünïcode.mp4", frames=3)
    write_clip(folder / "deep" / "whole.mkv", frames=60)
    cut(write_clip(folder / "cut.mkv", frames=60), 0.5)
    damage_packets(write_clip(folder / "damaged.mp4", frames=60), [20, 21])
    write_clip(folder / "sound.mp4", frames=5, audio=1.0)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video at all")
    os.symlink(folder, folder / "deep" / "loop")
    os.symlink(folder / "gone.mp4", folder / "dangling.mp4")

    code, _, err = score("--dir", folder)
    assert code == SOME_NOT_OK
    entries = manifest(tmp_path)["files"]
    found = {name: entry["status"] for name, entry in entries.items()}
    assert found == {
        "good.mp4": "ok",
        "good.mkv": "ok",
        "one frame.mp4": "ok",
        "line\nbreak ünïcode.mp4": "ok",
        "deep/whole.mkv": "ok",
        "cut.mkv": "truncated",
        "damaged.mp4": "corrupt",
        "sound.mp4": "ok",
        "empty.mp4": "unreadable",
        "text.mp4": "unreadable",
    }
    assert manifest(tmp_path)["left_out"] == {str(folder / "dangling.mp4"): "a link to nothing"}
    for name, entry in entries.items():
        assert bool(entry["reason"]) == (entry["status"] != "ok"), name
        path = tmp_path / "scores" / f"{name}.csv"
        assert path.is_file() == (entry["frames"] > 0), name
        if entry["frames"]:
            assert len(rows(path)) == entry["frames"], name
        else:
            assert f"{printable(name)}: unreadable: {entry['reason']}" in err
    assert entries["good.mp4"]["frames"] == 10
    assert entries["good.mkv"]["frames"] == 11
    assert 20 <= entries["cut.mkv"]["frames"] < 60
    assert "line\\nbreak ünïcode.mp4" in err


def test_file_names_that_are_no_text(score: Run, tmp_path: Path) -> None:
    folder = tmp_path / "bytes"
    folder.mkdir()
    os.rename(write_clip(folder / "x.mp4", frames=2), os.fsencode(folder) + b"/\xff\xfe.mp4")
    assert score("--dir", folder)[0] == OK
    (name,) = manifest(tmp_path)["files"]
    assert os.fsencode(name) == b"\xff\xfe.mp4"
    assert "1 of 1 are finished" in score("--dir", folder)[2]


def test_a_missing_file_among_good_ones(score: Run, videos: Path, tmp_path: Path) -> None:
    code, _, err = score(videos / "one.mp4", videos / "gone.mp4")
    assert code == SOME_NOT_OK
    assert "gone.mp4: unreadable: no such file or directory" in err
    assert (tmp_path / "scores" / "one.mp4.csv").is_file()


def test_what_could_not_be_searched_is_not_ok(score: Run, videos: Path, tmp_path: Path) -> None:
    os.symlink(videos / "gone.mp4", videos / "dangling.mp4")
    code, _, err = score("--dir", videos)
    assert code == SOME_NOT_OK
    assert f"{videos / 'dangling.mp4'}: left out: a link to nothing" in err
    assert "2 files, 0 not ok" in err
