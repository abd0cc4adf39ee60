"""Several devices: two processes on the CPU stand in for them. Every file once, whoever dies."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aedmae_fast import Scorer
from aedmae_fast.engine import choose, fleet
from aedmae_fast.engine.choose import ChoiceError
from aedmae_fast.engine.feed import NoAnswerError
from aedmae_fast.engine.fleet import Fleet
from aedmae_fast.engine.maps import FrameMap
from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.video import Status
from tests.clips import write_clip
from tests.engine.test_maps import assert_same_maps
from tests.engine.test_scorer import assert_same

LONG = 1  # the file that is in hand for long
SETTINGS: dict[str, Any] = {"preset": "paper", "precision": "fp32", "workers": 1, "threads": 1}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_clip(folder / f"{i}.mp4", frames=n, size=(32, 32)) for i, n in enumerate((5, 600, 12, 3))]


@pytest.fixture
def checkpoint(tiny_model: AedMae, tmp_path: Path) -> str:
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that are started, in order."""
    started: list[Any] = []

    class Noted(fleet._Worker):
        def __post_init__(self) -> None:
            super().__post_init__()
            started.append(self)
            self.first = list(self.source)  # what it could take when it was started
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.SIGINT)  # as a terminal's Ctrl-C: not theirs to act on

    monkeypatch.setattr(fleet, "_Worker", Noted)
    return started


def test_scores_are_those_of_one_process(
    checkpoint: str, tiny_model: AedMae, clips: list[Path], crew: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file once, the largest first, its frames counted; each process has its share and ends."""
    dealt: list[int | None] = []
    give = fleet._Worker.give

    def noted(self: Any, index: int | None, paths: Any) -> None:
        dealt.append(index)
        give(self, index, paths)

    monkeypatch.setattr(fleet._Worker, "give", noted)
    opened: list[int] = []
    frames: list[int] = []
    maps: dict[int, list[FrameMap]] = {index: [] for index in range(len(clips))}
    found = dict(
        Fleet(checkpoint, tiny_model, ["cpu", "cpu"], **SETTINGS).score_unordered(
            clips, lambda index, info: opened.append(index), frames.append, lambda index, m: maps[index].append(m)
        )
    )
    alone = Scorer.from_pretrained(checkpoint, device="cpu", **SETTINGS)
    for index, scores in enumerate(alone.score_many(clips)):
        assert_same(found[index], scores)
        assert_same_maps(maps[index], list(alone.maps(clips[index])))
    assert sorted(opened) == [0, 1, 2, 3]
    assert dealt[0] == LONG
    assert sum(frames) == sum(scores.frames for scores in found.values())
    assert len(crew) == 2
    assert all(worker.process.exitcode == 0 for worker in crew)


def kill_with(crew: list[Any], index: int) -> None:
    """The process that has the file in hand, as the kernel does when memory is short."""
    (worker,) = [worker for worker in crew if index in worker.in_hand and worker.process.is_alive()]
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join()


def test_the_files_of_a_process_that_dies_are_scored_by_another(
    checkpoint: str, tiny_model: AedMae, clips: list[Path], crew: list[Any]
) -> None:
    def once(index: int, info: Any) -> None:
        if index == LONG and len(crew) == 2:
            kill_with(crew, index)

    maps: dict[int, list[FrameMap]] = {index: [] for index in range(len(clips))}

    def keep(index: int, of_frame: FrameMap) -> None:
        if of_frame.frame == 0:
            maps[index].clear()
        maps[index].append(of_frame)

    found = dict(Fleet(checkpoint, tiny_model, ["cpu", "cpu"], **SETTINGS).score_unordered(clips, once, on_map=keep))
    for index, of_clip in maps.items():
        assert [m.frame for m in of_clip] == list(range(found[index].frames))
    assert [found[i].status for i in range(4)] == [Status.OK] * 4
    assert found[LONG].frames == 600
    assert len(crew) >= 3
    assert [LONG] in [worker.first for worker in crew[2:]]  # by itself


@pytest.mark.parametrize("workers", [1, 3])
def test_a_file_that_kills_is_given_up_and_the_others_are_scored(
    checkpoint: str, tiny_model: AedMae, clips: list[Path], crew: list[Any], workers: int
) -> None:
    """Those too that were in the same process's hands."""

    def always(index: int, info: Any) -> None:
        if index == LONG:
            kill_with(crew, index)

    settings = {**SETTINGS, "workers": workers}
    found = dict(Fleet(checkpoint, tiny_model, ["cpu", "cpu"], **settings).score_unordered(clips, always))
    assert [found[i].status for i in range(4)] == [Status.OK, Status.FAILED, Status.OK, Status.OK]
    assert found[LONG].reason == "the process on cpu was killed by signal 9"
    assert found[LONG].path == clips[LONG]


def test_where_no_process_can_work_every_file_says_why(
    checkpoint: str, tiny_model: AedMae, clips: list[Path], crew: list[Any]
) -> None:
    devices = Fleet(checkpoint, tiny_model, ["cpu", "cpu"], **SETTINGS)
    Path(checkpoint).unlink()
    found = dict(devices.score_unordered(clips))
    assert {scores.status for scores in found.values()} == {Status.FAILED}
    assert found[0].reason.startswith("CheckpointError on cpu: ")
    assert (len(found), len(crew)) == (4, 2)


@pytest.mark.parametrize("what", ["checkpoint", "region"])
def test_a_process_that_is_started_later_takes_no_other_weights_and_no_other_region(
    checkpoint: str, tiny_model: AedMae, clips: list[Path], tmp_path: Path, what: str
) -> None:
    """As when training puts its next best network there."""
    region = tmp_path / "region.png"
    Image.new("L", (64, 32), 255).save(region)
    devices = Fleet(checkpoint, tiny_model, ["cpu"], **SETTINGS, region=str(region))
    assert dict(devices.score_unordered(clips[:1]))[0].status is Status.OK
    if what == "checkpoint":
        with torch.no_grad():
            tiny_model.norm.bias += 1
        save_model(tiny_model, checkpoint)
    else:
        Image.fromarray(np.repeat([[255] * 32 + [0] * 32], 32, axis=0).astype(np.uint8)).save(region)
    (scores,) = dict(devices.score_unordered(clips[:1])).values()
    changed = checkpoint if what == "checkpoint" else region
    assert scores.status is Status.FAILED
    assert scores.reason == (
        f"ValueError on cpu: {what}: {changed} has changed since this run began; put it back, and run again"
    )


def test_a_loop_that_is_left_leaves_no_process(
    checkpoint: str, tiny_model: AedMae, clips: list[Path], crew: list[Any]
) -> None:
    results = Fleet(checkpoint, tiny_model, ["cpu", "cpu"], **SETTINGS).score_unordered(clips)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not any(worker.process.is_alive() for worker in crew)


def test_auto_shares_the_cores(tiny_model: AedMae, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "usable_cores", lambda: (12, "12 cores"))
    devices = Fleet("none", tiny_model, ["cpu"] * 3, precision="fp32", smoothing=False)
    assert [settings["threads"] for settings in devices._settings] == ["4"] * 3
    assert devices.choices["threads"].why == "shared by the processes"
    assert devices.choices["device"].value == "cpu,cpu,cpu"
    assert devices.choices["workers"] == ("2", "12 cores for 3 processes, compute on cpu")
    assert Fleet("none", tiny_model, ["cpu"] * 3, precision="fp32", threads=5)._settings[0]["threads"] == "5"


def test_folders_of_frames_are_as_large_as_their_frames(tmp_path: Path) -> None:
    """Which is what files are dealt out by, the largest first."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(40):
        Image.new("RGB", (64, 64), (t, 0, 0)).save(folder / f"{t}.png")
    images = list(folder.iterdir())
    assert fleet._size(folder) == sum(path.stat().st_size for path in images)
    assert fleet._size(images[0]) == images[0].stat().st_size
    assert fleet._size(tmp_path / "nothing") == 0


def test_the_devices_are_those_that_were_chosen(tiny_model: AedMae) -> None:
    """And not what was asked for, which may be none that torch knows."""
    chosen = choose.choose_device("auto").value
    devices = Fleet("none", tiny_model, ["auto"] * 2, precision="fp32")
    assert devices.choices["device"].value == f"{chosen},{chosen}"


def test_one_precision_for_all(tiny_model: AedMae, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = iter(("fp32", "bf16"))
    monkeypatch.setattr(choose, "choose_precision", lambda *_: choose.Choice(next(chosen), "a test"))
    with pytest.raises(ChoiceError, match="precision: 'auto' is different on the devices"):
        Fleet("none", tiny_model, ["cpu", "cpu"])


def test_devices_of_one_kind(tiny_model: AedMae) -> None:
    with pytest.raises(ChoiceError, match="device: expected several of one kind, found 'cpu,cuda:0'"):
        Fleet("none", tiny_model, ["cpu", "cuda:0"])


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose.devices_of("cuda") == ["cuda"]
    assert choose.devices_of("cuda:0,cuda:3") == ["cuda:0", "cuda:3"]
    monkeypatch.setattr(choose.torch, "cuda", SimpleNamespace(is_available=lambda: True, device_count=lambda: 2))
    assert choose.devices_of("all") == ["cuda:0", "cuda:1"]
    monkeypatch.setattr(choose.torch, "cuda", SimpleNamespace(is_available=lambda: False))
    with pytest.raises(ChoiceError, match="device: 'all' asked for, but torch sees no CUDA device"):
        choose.devices_of("all")


def no_answer(pipe: Connection, *_: object) -> None:
    """A process whose files all lie on a disk that hangs."""
    pipe.send(("next",))
    pipe.recv()
    pipe.send(("no answer", "3 files in a row gave nothing"))


def test_a_disk_that_does_not_answer_ends_the_run(
    checkpoint: str, tiny_model: AedMae, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no trouble of its files, which stay to be done."""
    monkeypatch.setattr(fleet, "_work", no_answer)
    with pytest.raises(NoAnswerError, match="3 files in a row gave nothing"):
        list(Fleet(checkpoint, tiny_model, ["cpu", "cpu"], **SETTINGS).score_unordered(clips))
