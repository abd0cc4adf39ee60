"""A folder as a job: resumed after any crash, never mixed, every file whole or not there."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aedmae_fast import Scorer
from aedmae_fast.engine.job import JOURNAL, MANIFEST, Item, Job, JobError, name_items
from aedmae_fast.engine.journal import Journal
from aedmae_fast.engine.map_file import MapFile, MapFolder
from aedmae_fast.engine.table import COLUMNS
from aedmae_fast.files import atomic
from aedmae_fast.model.network import AedMae
from tests.clips import cut, write_clip

SETTINGS = {"preset": "paper"}


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    (tmp_path / "videos" / "sub").mkdir(parents=True)
    for name in ("a.mp4", "sub/b.mp4", "sub/b.mkv"):
        write_clip(tmp_path / "videos" / name, frames=6, size=(32, 32))
    return name_items(sorted((tmp_path / "videos").rglob("*.m*")), tmp_path / "videos")


@pytest.fixture
def scorer(tiny_model: AedMae) -> Scorer:
    return Scorer(tiny_model, precision="fp32")


def read_maps(out: Path, item: Item) -> np.ndarray:
    return np.asarray(np.load(out / item.maps, mmap_mode="r"))


def run(out: Path, scorer: Scorer, items: list[Item], settings: dict[str, Any] = SETTINGS, **how: Any) -> list[str]:
    """One whole run; the names of what it scored."""
    scored: list[str] = []
    with Job(out, settings, **how) as job:
        assert not list(out.glob(".maps/*"))
        job.run(scorer, job.todo(items), on_finished=lambda name, *_: scored.append(name))
        job.finish({"machine": "a test"}, left_out={})
    return sorted(scored)


def manifest(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / MANIFEST).read_text()))


NAMES = ["a.mp4", "sub/b.mkv", "sub/b.mp4"]


def test_results_and_manifest(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    out = tmp_path / "scores"
    assert run(out, scorer, items) == NAMES
    content = manifest(out)
    assert content["settings"] == SETTINGS
    assert content["environment"] == {"machine": "a test"}
    assert sorted(content["files"]) == NAMES
    for item in items:
        entry = content["files"][item.name]
        assert (entry["status"], entry["reason"], entry["frames"], entry["expected_frames"]) == ("ok", "", 6, 6)
        assert (entry["width"], entry["height"], entry["codec"]) == (32, 32, "h264")
        status = item.path.stat()
        assert entry["source"] == {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        with open(out / entry["output"], newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
        expected = scorer.score(item.path)
        assert [int(row["frame"]) for row in rows] == list(range(6))
        for column in ("score", "raw", "teacher_error", "discrepancy", "class_prob"):
            written = np.array([float(row[column]) for row in rows])
            np.testing.assert_allclose(written, getattr(expected, column), rtol=1e-8)
        assert [float(row["raw"]) for row in rows] == pytest.approx(expected.raw.tolist(), rel=1e-8)
    assert not (out / JOURNAL).exists()
    assert not list(out.rglob(".part-*"))


def test_a_second_run_does_nothing(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    out = tmp_path / "scores"
    run(out, scorer, items)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.csv")}
    assert run(out, scorer, items) == []
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.csv")} == before
    assert sorted(manifest(out)["files"]) == NAMES
    assert run(out, scorer, items, overwrite=True) == NAMES


def test_the_manifest_is_a_line_a_file_and_written_when_something_is_new(
    tmp_path: Path, scorer: Scorer, items: list[Item]
) -> None:
    out = tmp_path / "scores"
    with Job(out, SETTINGS):
        assert manifest(out)["files"] == {}
    run(out, scorer, items)
    lines = (out / MANIFEST).read_text().splitlines()
    assert [line[: line.index(":")] for line in lines if ".csv" in line] == [json.dumps(name) for name in NAMES]
    written = os.stat(out / MANIFEST).st_ino
    with Job(out, SETTINGS):
        assert os.stat(out / MANIFEST).st_ino == written
    with Job(out, SETTINGS):  # there is a journal of the run before
        assert os.stat(out / MANIFEST).st_ino != written


def test_what_changed_or_vanished_is_scored_again(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    out = tmp_path / "scores"
    run(out, scorer, items)
    write_clip(items[0].path, frames=9, size=(32, 32))
    (out / "sub" / "b.mkv.csv").unlink()
    assert run(out, scorer, items) == ["a.mp4", "sub/b.mkv"]
    assert manifest(out)["files"]["a.mp4"]["frames"] == 9


def test_what_changes_while_it_is_scored_is_scored_again(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    """Nobody knows how much of the change its scores have seen."""
    with Job(tmp_path / "scores", SETTINGS) as job:
        job.run(scorer, items, on_opened=lambda index, _: os.utime(items[index].path, (1, 1)) if index else None)
        assert job.todo(items) == items[1:]


def test_what_is_finished_is_on_the_disk_by_then(
    tmp_path: Path, scorer: Scorer, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores and maps are before they get their names, and what says that they are there comes last."""
    done: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def synced(file: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        done.append(("on the disk", path.suffix if path.name.startswith(".part-") else path.name))
        fsync(file)

    def replaced(old: Path, new: Path) -> None:
        done.append(("named", new.name))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    run(tmp_path / "scores", scorer, items[:1], maps=True)
    manifest_written = [("on the disk", ".json"), ("named", MANIFEST)]
    assert done == [
        *manifest_written,
        ("on the disk", "0.npy"),
        ("on the disk", ".csv"),
        ("named", "a.mp4.csv"),
        ("named", "a.mp4.npy"),
        ("on the disk", JOURNAL),
        *manifest_written,
    ]


def test_unreadable_files_are_not_tried_again_until_they_change(
    tmp_path: Path, scorer: Scorer, items: list[Item]
) -> None:
    out, path = tmp_path / "scores", items[0].path
    good = path.read_bytes()
    path.write_text("no video")
    assert run(out, scorer, items) == NAMES
    assert manifest(out)["files"]["a.mp4"]["status"] == "unreadable"
    assert manifest(out)["files"]["a.mp4"]["output"] is None
    assert run(out, scorer, items) == []
    path.write_bytes(good)
    assert run(out, scorer, items) == ["a.mp4"]
    assert manifest(out)["files"]["a.mp4"]["status"] == "ok"


def test_what_a_disk_or_network_stood_in_the_way_of_is_tried_again(
    tmp_path: Path, scorer: Scorer, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file itself has not changed, and nothing of it says that another try would go better."""
    out, opened = tmp_path / "scores", Path.open

    def stale(path: Path, *arguments: Any, **how: Any) -> Any:
        if path == items[0].path:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return opened(path, *arguments, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", stale)
        assert run(out, scorer, items) == NAMES
        entry = manifest(out)["files"]["a.mp4"]
        assert (entry["status"], entry["reason"], entry["passing"]) == ("unreadable", "stale file handle", True)
        assert run(out, scorer, items) == ["a.mp4"]
    assert run(out, scorer, items) == ["a.mp4"]
    entry = manifest(out)["files"]["a.mp4"]
    assert (entry["status"], entry["passing"], entry["seekable"]) == ("ok", False, True)
    assert run(out, scorer, items) == []


def test_scores_of_a_file_that_broke_do_not_stay(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    out = tmp_path / "scores"
    run(out, scorer, items, maps=True)
    items[0].path.write_text("no video")
    assert run(out, scorer, items, maps=True) == ["a.mp4"]
    assert sorted(p.name for p in out.iterdir()) == [".lock", MANIFEST, "sub"]


def test_scores_stay_where_what_stands_in_the_way_is_not_the_video(
    tmp_path: Path, scorer: Scorer, items: list[Item]
) -> None:
    """A disk that is away when maps are asked for: the scores were right yesterday, and are."""
    out, videos = tmp_path / "scores", tmp_path / "videos"
    run(out, scorer, items)
    before = {name: (out / f"{name}.csv").read_bytes() for name in NAMES}
    videos.rename(tmp_path / "away")
    for how in ({"maps": True}, {"overwrite": True}):
        with Job(out, SETTINGS, **how) as job:
            found: dict[str, Any] = {}
            job.run(scorer, job.todo(items), on_finished=lambda name, entry, _, to=found: to.update({name: entry}))
            job.finish({}, left_out={})
        assert [found[name]["status"] for name in NAMES] == ["unreadable"] * 3
        assert {name: (out / f"{name}.csv").read_bytes() for name in NAMES} == before
        assert all(manifest(out)["files"][name]["output"] == f"{name}.csv" for name in NAMES)
    assert run(out, scorer, items) == NAMES  # tried again
    (tmp_path / "away").rename(videos)
    assert run(out, scorer, items, maps=True) == NAMES
    assert run(out, scorer, items, maps=True) == []
    assert {name: (out / f"{name}.csv").read_bytes() for name in NAMES} == before


def test_scores_stay_where_maps_cannot_be_written(
    tmp_path: Path, scorer: Scorer, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "scores"
    run(out, scorer, items)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(MapFolder, "finish", full)
        assert run(out, scorer, items, maps=True) == NAMES
    assert all((out / f"{name}.csv").is_file() and not (out / f"{name}.npy").exists() for name in NAMES)
    assert run(out, scorer, items) == NAMES
    assert run(out, scorer, items) == []


def test_an_empty_file_is_no_result(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    out = tmp_path / "scores"
    run(out, scorer, items, maps=True)
    (out / "a.mp4.npy").write_bytes(b"")
    assert run(out, scorer, items, maps=True) == ["a.mp4"]


def test_another_video_of_the_same_name_is_refused(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    """Two cameras, files named by the hour, one --out: neither may get the other's scores, nor take their place."""
    out, other = tmp_path / "scores", tmp_path / "camera2"
    run(out, scorer, items)
    shutil.copytree(tmp_path / "videos", other, copy_function=shutil.copy2)
    of_other = name_items([other / "a.mp4"], other)
    for overwrite in (False, True):
        with (
            Job(out, SETTINGS, overwrite=overwrite) as job,
            pytest.raises(JobError, match=r"camera2/a.mp4: .* holds scores of .*videos/a.mp4 under the same name"),
        ):
            job.require_own_names(of_other)
    (tmp_path / "link").symlink_to(tmp_path / "videos")  # the same videos by another name
    with Job(out, SETTINGS) as job:
        job.require_own_names(items)
        job.require_own_names(name_items([tmp_path / "link" / "a.mp4"], tmp_path / "link"))
    shutil.rmtree(tmp_path / "videos")  # moved: they keep their scores
    with Job(out, SETTINGS) as job:
        job.require_own_names(of_other)
        assert job.is_finished(of_other[0])


def test_overwriting_some_keeps_what_is_alike_and_drops_what_is_not(
    tmp_path: Path, scorer: Scorer, items: list[Item]
) -> None:
    out = tmp_path / "scores"
    run(out, scorer, items)
    assert run(out, scorer, items[:1], overwrite=True) == ["a.mp4"]
    assert run(out, scorer, items) == []
    run(out, scorer, items[:1], {"preset": "other"}, overwrite=True)
    assert [p.relative_to(out).as_posix() for p in out.rglob("*.csv")] == ["a.mp4.csv"]
    assert list(manifest(out)["files"]) == ["a.mp4"]


def test_other_settings_are_refused(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    out = tmp_path / "scores"
    run(out, scorer, items)
    with pytest.raises(JobError, match=r"other settings \(preset: 'paper', now 'other'\).*--overwrite"):
        run(out, scorer, items, {"preset": "other"})
    assert run(out, scorer, items, {"preset": "other"}, overwrite=True) == NAMES


def test_a_crash_loses_the_file_in_hand_only(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    """As after a kill: the journal is there, the manifest is the one from the start, the last line is torn."""
    out = tmp_path / "scores"
    with Job(out, SETTINGS) as job:
        job.run(scorer, items[:2])
    assert manifest(out)["files"] == {}
    with open(out / JOURNAL, "a") as file:
        file.write('{"name": "sub/b.mk')
    assert run(out, scorer, items) == [items[2].name]
    assert sorted(manifest(out)["files"]) == NAMES


def test_resumed_scores_are_the_same_bytes(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    run(tmp_path / "whole", scorer, items)
    with Job(tmp_path / "cut", SETTINGS) as job:
        job.run(scorer, items[:1])
    run(tmp_path / "cut", scorer, items)
    for name in NAMES:
        assert (tmp_path / "cut" / f"{name}.csv").read_bytes() == (tmp_path / "whole" / f"{name}.csv").read_bytes()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with Job(tmp_path, SETTINGS), pytest.raises(JobError, match="another run is writing here"), Job(tmp_path, SETTINGS):
        pass


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"a": 1}',
        '{"settings": 1, "files": {}}',
        '{"settings": {}, "files": {"a": {}}}',
        '{"settings": {}, "files": {"a": "ok"}}',
        '{"settings": {}, "files": {"a": [1]}}',
    ],
)
def test_a_foreign_manifest_is_not_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(JobError, match="not a manifest of ours"), Job(tmp_path, SETTINGS):
        pass
    assert (tmp_path / MANIFEST).read_text() == content
    with Job(tmp_path, SETTINGS, overwrite=True):
        assert json.loads((tmp_path / MANIFEST).read_text())["files"] == {}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(JobError, match=r"cannot write here \(Not a directory\)"),
        Job(tmp_path / "file" / "x", SETTINGS),
    ):
        pass


def test_a_full_disk_fails_that_file_and_the_rest_goes_on(
    tmp_path: Path, scorer: Scorer, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aedmae_fast.engine import job as module

    def full(file: Any, scores: Any) -> None:
        original(file, scores)
        if scores.path == items[1].path:
            file.flush()
            assert list(out.rglob(".part-*"))
            raise OSError(28, os.strerror(28))

    original = module.write_csv
    out = tmp_path / "scores"
    monkeypatch.setattr(module, "write_csv", full)
    assert run(out, scorer, items) == NAMES
    entries = manifest(out)["files"]
    assert [entries[item.name]["status"] for item in items] == ["ok", "failed", "ok"]
    assert entries[items[1].name]["reason"] == "cannot write the scores: No space left on device"
    assert not (out / f"{items[1].name}.csv").exists()
    assert not list(out.rglob(".part-*"))
    monkeypatch.undo()
    assert run(out, scorer, items) == [items[1].name]


def test_a_disk_too_full_for_the_journal_fails_that_file(
    tmp_path: Path, scorer: Scorer, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said of it is what the next run finds, and no results lie there."""
    out, finished = tmp_path / "scores", Journal.finished

    def full(journal: Journal, name: str, entry: dict[str, Any]) -> None:
        if name == items[1].name:
            raise OSError(28, os.strerror(28))
        finished(journal, name, entry)

    monkeypatch.setattr(Journal, "finished", full)
    with Job(out, SETTINGS, maps=True) as job:  # and no manifest is written at its end
        job.run(scorer, items)
        assert job.entry(items[1])["status"] == "failed"
    assert not [p for p in out.rglob("*") if p.name.startswith(items[1].path.name)]
    monkeypatch.undo()
    assert run(out, scorer, items, maps=True) == [items[1].name]


def test_overwriting_that_was_interrupted_is_gone_on_with(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    """By a run that does not overwrite, of other files too; and what was not scored again is still known."""
    out = tmp_path / "scores"
    run(out, scorer, items)
    for how in ({"overwrite": True}, {}):
        with Job(out, SETTINGS, **how) as job:
            todo = job.todo(items)
            assert todo == items[3 - len(todo) :]
            assert len(todo) == (3 if how else 2)
            job.run(scorer, todo[:1])  # and no more
    assert run(out, scorer, items[:1]) == []
    items[2].path.write_text("no video")
    assert run(out, scorer, items) == [items[2].name]
    assert not (out / f"{items[2].name}.csv").exists()
    assert run(out, scorer, items) == []


class Breaking(Scorer):
    """Breaks off with its first file in hand."""

    error: BaseException = MemoryError()

    def score_unordered(self, paths: Any, *_: Any, on_taken: Any = None, **__: Any) -> Any:
        on_taken(0)
        raise self.error


@pytest.mark.parametrize(("error", "suspected"), [(MemoryError(), True), (KeyboardInterrupt(), False)])
def test_what_breaks_a_run_off_is_suspected(
    tmp_path: Path, tiny_model: AedMae, items: list[Item], error: BaseException, suspected: bool
) -> None:
    """Else every run would end at the same file. Ctrl-C is nobody's fault, and takes suspicion from nobody."""
    breaking, out = Breaking(tiny_model, precision="fp32", threads=1), tmp_path / "scores"
    breaking.error = error
    with contextlib.suppress(type(error)), Job(out, SETTINGS) as job:
        job.run(breaking, items)
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt), Job(out, SETTINGS) as job:
            assert [job.is_suspect(item) for item in items] == [suspected, False, False]
            raise KeyboardInterrupt


def test_a_run_over_other_files_takes_suspicion_from_nobody(
    tmp_path: Path, tiny_model: AedMae, scorer: Scorer, items: list[Item]
) -> None:
    out = tmp_path / "scores"
    with contextlib.suppress(MemoryError), Job(out, SETTINGS) as job:
        job.run(Breaking(tiny_model, precision="fp32", threads=1), items)
    run(out, scorer, items[1:])
    with Job(out, SETTINGS) as job:
        assert job.is_suspect(items[0])
    run(out, scorer, items)
    with Job(out, SETTINGS) as job:
        assert not job.is_suspect(items[0])


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic(path) as file:
            file.write("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_names(tmp_path: Path) -> None:
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    folder = tmp_path / "folder"
    assert [i.name for i in name_items([folder / "sub" / "a.mp4"], folder)] == ["sub/a.mp4"]
    assert [i.name for i in name_items([folder], folder)] == ["folder"]  # a folder of frames, scored itself
    several = [folder / "sub" / "a.mp4", folder / "a.mp4", folder / "a.mp4"]
    assert [i.name for i in name_items(several, None)] == ["sub/a.mp4", "a.mp4"]  # told apart, each once
    with pytest.raises(JobError, match=r"/folder and .*/folder/folder: both would be named folder; score the folder a"):
        name_items([folder, folder / "folder"], folder)
    assert [i.name for i in name_items([folder, folder / "folder"], tmp_path)] == ["folder", "folder/folder"]


def test_a_folder_of_frames_that_grows_is_scored_again(tmp_path: Path, scorer: Scorer) -> None:
    from PIL import Image

    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(3):
        Image.new("RGB", (32, 32), (40 * t, 0, 0)).save(folder / f"{t}.png")
    items = name_items([folder], tmp_path)
    assert run(tmp_path / "scores", scorer, items) == ["frames"]
    assert run(tmp_path / "scores", scorer, items) == []
    for name in (".DS_Store", "camera.log", "._0.png", "scores.csv"):  # no frames
        (folder / name).touch()
    assert run(tmp_path / "scores", scorer, items) == []
    shutil.copy(folder / "2.png", folder / "3.png")
    assert run(tmp_path / "scores", scorer, items) == ["frames"]


# ---- maps ----


def test_maps_lie_beside_the_scores(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    out = tmp_path / "scores"
    assert run(out, scorer, items, maps=True) == NAMES
    for item in items:
        expected = np.stack([m.values for m in scorer.maps(item.path)])
        np.testing.assert_array_equal(read_maps(out, item), expected.astype(np.float16))
        assert manifest(out)["files"][item.name]["maps"] == item.maps
    assert sorted(p.name for p in out.iterdir()) == [".lock", "a.mp4.csv", "a.mp4.npy", MANIFEST, "sub"]
    assert run(out, scorer, items, maps=True) == []
    assert run(out, scorer, items) == []  # and whoever does not ask for them keeps them
    assert run(out, scorer, items, maps=True) == []


def test_maps_asked_for_later(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    """Nobody claims to have them before they are there, and the scores stay the same bytes."""
    out = tmp_path / "scores"
    run(out, scorer, items)
    before = (out / "a.mp4.csv").read_bytes()
    assert {entry["maps"] for entry in manifest(out)["files"].values()} == {None}
    assert run(out, scorer, items, maps=True) == NAMES
    assert (out / "a.mp4.csv").read_bytes() == before
    (out / items[0].maps).unlink()
    assert run(out, scorer, items, maps=True) == [items[0].name]


@pytest.mark.parametrize("overwrite", [False, True])
def test_maps_of_other_scores_do_not_stay(tmp_path: Path, scorer: Scorer, items: list[Item], overwrite: bool) -> None:
    """A video that changed, or other settings; files that are not ours do."""
    out = tmp_path / "scores"
    run(out, scorer, items[:1], maps=True)
    foreign = out / "sub" / "b.mp4.npy"
    foreign.parent.mkdir()
    foreign.write_text("not ours")
    write_clip(items[0].path, frames=9, size=(32, 32))
    run(out, scorer, items, {"preset": "other"} if overwrite else SETTINGS, overwrite=overwrite)
    assert not (out / items[0].maps).exists()
    assert manifest(out)["files"][items[0].name]["maps"] is None
    assert foreign.read_text() == "not ours"


def test_a_crash_leaves_no_maps_that_are_not_whole(tmp_path: Path, scorer: Scorer, items: list[Item]) -> None:
    """Those of the file in hand go with the next run, whether it writes maps or not."""
    out = tmp_path / "scores"
    with Job(out, SETTINGS, maps=True) as job:
        job.run(scorer, items[:1])
    (out / ".maps").mkdir()
    (out / ".maps" / "7.npy").write_text("of a run that was killed")
    assert run(out, scorer, items, maps=True) == NAMES[1:]
    assert not (out / ".maps").exists()
    assert len(read_maps(out, items[0])) == 6


def test_maps_of_broken_files(tmp_path: Path, scorer: Scorer) -> None:
    """None of what cannot be read, and of what is cut those that can."""
    folder = tmp_path / "videos"
    folder.mkdir()
    cut(write_clip(folder / "cut.mkv", frames=60), 0.5)
    (folder / "text.mp4").write_text("no video")
    items, out = name_items(sorted(folder.iterdir()), folder), tmp_path / "scores"
    run(out, scorer, items, maps=True)
    entries = manifest(out)["files"]
    assert [(entries[item.name]["status"], entries[item.name]["maps"]) for item in items] == [
        ("truncated", "cut.mkv.npy"),
        ("unreadable", None),
    ]
    assert len(read_maps(out, items[0])) == entries["cut.mkv"]["frames"] < 60
    assert not (out / "text.mp4.npy").exists()
    assert run(out, scorer, items, maps=True) == []


@pytest.mark.parametrize("step", ["__init__", "add", "finish"])
def test_a_disk_too_full_for_maps_fails_that_file(
    tmp_path: Path, scorer: Scorer, items: list[Item], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """At whatever point; it leaves neither maps nor scores, and is tried again."""
    original, calls = getattr(MapFile, step), 0

    def full(self: MapFile, *content: Any) -> None:
        nonlocal calls
        calls += 1
        original(self, *content)
        if calls == 2:  # the second file, or its second map
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(MapFile, step, full)
    out = tmp_path / "scores"
    run(out, scorer, items, maps=True)
    entries = manifest(out)["files"]
    (failed,) = [name for name, entry in entries.items() if entry["status"] == "failed"]
    assert entries[failed]["reason"] == "cannot write the maps: No space left on device"
    assert (entries[failed]["output"], entries[failed]["maps"]) == (None, None)
    assert not [p for p in out.rglob("*") if p.name.startswith(Path(failed).name)]
    assert not (out / ".maps").exists()
    monkeypatch.undo()
    assert run(out, scorer, items, maps=True) == [failed]
