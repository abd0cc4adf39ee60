"""Usable cores by affinity and quota, in control groups of both versions as they look in and outside of containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aedmae_fast.engine import cores
from aedmae_fast.engine.choose import choose_threads, choose_workers

V2 = "0::{path}\n"
V1 = "12:memory:{path}\n4:cpu,cpuacct:{path}\n9:name=systemd:{path}\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 cores whose control groups lie in a folder; that of the process is /service/job."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "GROUPS", tmp_path)
    monkeypatch.setattr(cores, "OWN", tmp_path / "own")
    return tmp_path


def write(root: Path, own: str, files: dict[str, str]) -> None:
    (root / "own").write_text(own.format(path="/service/job"))
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        (V2, {}, (64, "64 cores")),
        (V2, {"service/job/cpu.max": "max 100000", "cpu.max": "max 100000"}, (64, "64 cores")),
        (V2, {"service/job/cpu.max": "150000 100000"}, (2, "a quota of 1.5 of 64 cores")),
        (
            V2,
            {"service/job/cpu.max": "800000 100000", "service/cpu.max": "400000 100000"},
            (4, "a quota of 4 of 64 cores"),
        ),
        (V2, {"cpu.max": "20000 100000"}, (1, "a quota of 0.2 of 64 cores")),  # in a container
        (V2, {"service/job/cpu.max": "9900000 100000"}, (64, "64 cores")),
        (
            V1,
            {"cpu/service/job/cpu.cfs_quota_us": "-1", "cpu/service/job/cpu.cfs_period_us": "100000"},
            (64, "64 cores"),
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, (3, "a quota of 3 of 64 cores")),
        (V1, {"cpu.max": "100000 100000"}, (64, "64 cores")),  # the other version's file
    ],
)
def test_the_smallest_quota_around_the_process_counts(
    machine: Path, own: str, files: dict[str, str], expected: tuple[int, str]
) -> None:
    write(machine, own, files)
    assert cores.usable_cores() == expected


def test_without_control_groups_the_affinity_counts() -> None:
    assert cores.usable_cores() == (64, "64 cores")


def test_threads_and_workers_follow_it(machine: Path) -> None:
    write(machine, V2, {"cpu.max": "1600000 100000"})
    threads, workers = choose_threads("auto", "cpu"), choose_workers("auto", "cpu")
    assert (threads.value, workers.value) == ("16", "8")
    assert threads.why == "a quota of 16 of 64 cores; each thread computes its own frames"
    assert choose_threads(5, "cpu").value == "5"  # a wish is met


@pytest.mark.parametrize("decoder", ["dali", "nvdec"])
def test_a_gpus_decoders_are_few_however_many_cores_there_are(machine: Path, decoder: str) -> None:
    assert choose_workers("auto", "cuda") == ("64", "64 cores, compute on cuda")
    assert choose_workers("auto", "cuda", decoder) == ("16", "enough for the decoders of a GPU; 64 cores")
    assert choose_workers(40, "cuda", decoder).value == "40"
    assert choose_workers("auto", "cuda", decoder, 2).value == "16"  # of each process, which has a GPU of its own
    assert choose_workers("auto", "cuda", decoder, 8) == ("8", "64 cores for 8 processes, compute on cuda")
    write(machine, V2, {"cpu.max": "800000 100000"})
    assert choose_workers("auto", "cuda", decoder) == ("8", "a quota of 8 of 64 cores, compute on cuda")
