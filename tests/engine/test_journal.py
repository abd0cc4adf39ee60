"""What a run leaves behind for the next one, however it ended."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

import pytest

from aedmae_fast.engine.journal import Journal, read_journal

ENTRY = {"status": "ok"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def killed(path: Path, *, suspects: tuple[str, ...] = (), taken: tuple[str, ...] = ()) -> None:
    """A run that takes these, finishes the first, and is killed."""
    journal = Journal(path, suspects)
    for name in taken:
        journal.taken(name)
    if taken:
        journal.finished(taken[0], ENTRY)
    os.close(journal._file)


def ended(path: Path, error: BaseException, suspects: tuple[str, ...] = ()) -> None:
    """A run that takes a file and ends with an error."""
    with contextlib.suppress(type(error)), Journal(path, suspects) as journal:
        journal.taken("a")
        raise error


def test_what_was_in_hand_is_known_after_a_kill(path: Path) -> None:
    killed(path, taken=("a", "b", "c"))
    assert read_journal(path) == ({"a": ENTRY}, {"b", "c"})


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_nothing_is_in_hand_after_an_end_that_was_meant(path: Path, error: BaseException) -> None:
    ended(path, error)
    assert read_journal(path) == ({}, set())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error"), OSError()])
def test_an_unexpected_end_is_like_a_kill(path: Path, error: BaseException) -> None:
    ended(path, error)
    assert read_journal(path) == ({}, {"a"})


def test_suspects_stay_suspects_until_they_are_finished(path: Path) -> None:
    """Though a run is stopped before their turn, or another one has other files to score."""
    ended(path, KeyboardInterrupt(), suspects=("z", "y"))
    assert read_journal(path) == ({}, {"y", "z"})
    with Journal(path, ["y", "z"]) as journal:
        journal.taken("z")
        journal.finished("z", ENTRY)
        journal.drop()
    assert read_journal(path) == ({}, {"y"})
    with Journal(path, ["y"]) as journal:
        journal.finished("y", ENTRY)
        journal.drop()
    assert not path.exists()


def test_two_kills_in_a_row(path: Path) -> None:
    killed(path, suspects=("z", "y"), taken=("z", "a"))
    assert read_journal(path) == ({"z": ENTRY}, {"y", "a"})


@pytest.mark.parametrize("torn", [b'{"taken": "d', b'{"name": "b", "sta', b"3", b"\0\0\0", b'{"name": "\xff\xfe'])
def test_a_torn_line(path: Path, torn: bytes) -> None:
    killed(path, taken=("a", "b"))
    with open(path, "ab") as file:
        file.write(torn)
    assert read_journal(path) == ({"a": ENTRY}, {"b"})


@pytest.mark.parametrize("room", [0, 1, 40])
def test_what_a_full_disk_kept_out_is_not_finished(path: Path, room: int) -> None:
    """Neither at once nor with the next line, for which there is room again."""
    journal = Journal(path, [])
    journal.taken("a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, before[1]))
    try:
        with pytest.raises(OSError, match=r"No space left|File too large"):
            journal.finished("a", {**ENTRY, "reason": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.finished("b", ENTRY)
    assert read_journal(path) == ({"b": ENTRY}, {"a"})


def test_no_journal(path: Path) -> None:
    assert read_journal(path) == ({}, set())
    with Journal(path, []) as journal:
        journal.drop()
    assert not path.exists()


def test_one_that_cannot_be_begun_leaves_no_file_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(journal: Journal) -> None:
        raise OSError("no space left")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(Journal, "_write_suspects", full)
    with pytest.raises(OSError, match="no space left"):
        Journal(path, ["a"])
    assert os.listdir("/proc/self/fd") == before
