"""What a run leaves behind for the next one, however it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from aedmae_fast.engine.journal import Journal, read_journal

ENTRY = {"status": "ok"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def killed(path: Path, *, in_hand: tuple[str, ...] = (), taken: tuple[str, ...] = ()) -> None:
    """A run that takes these, finishes the first, and is killed."""
    journal = Journal(path, in_hand)
    for name in taken:
        journal.taken(name)
    if taken:
        journal.finished(taken[0], ENTRY)
    journal._file.close()


def test_what_was_in_hand_is_known_after_a_kill(path: Path) -> None:
    killed(path, taken=("a", "b", "c"))
    assert read_journal(path) == ({"a": ENTRY}, {"b", "c"})


def test_nothing_is_in_hand_after_any_other_end(path: Path) -> None:
    def interrupted() -> None:
        with Journal(path, ["z"]) as journal:
            journal.taken("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read_journal(path) == ({}, set())


def test_two_kills_in_a_row(path: Path) -> None:
    killed(path, in_hand=("z", "y"), taken=("z", "a"))
    assert read_journal(path) == ({"z": ENTRY}, {"y", "a"})


@pytest.mark.parametrize("torn", ['{"taken": "d', '{"name": "b", "sta', "3", "\0\0\0"])
def test_a_torn_line(path: Path, torn: str) -> None:
    killed(path, taken=("a", "b"))
    with open(path, "a") as file:
        file.write(torn)
    assert read_journal(path) == ({"a": ENTRY}, {"b"})


def test_no_journal(path: Path) -> None:
    assert read_journal(path) == ({}, set())
    with Journal(path, []) as journal:
        journal.drop()
    assert not path.exists()
