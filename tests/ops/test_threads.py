"""on_threads: every item once, on as many threads as PyTorch has, errors and forks included."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from aedmae_fast.ops.threads import on_threads


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 13])
def test_every_item_once(threads: int, count: int) -> None:
    found: list[int] = []
    on_threads(lambda part: found.extend(range(part.start, part.stop)), count)
    assert sorted(found) == list(range(count))


def test_side_by_side(threads: int) -> None:
    """Each call waits for all the others: one after the other they would wait for ever."""
    barrier = threading.Barrier(threads)
    on_threads(lambda part: [barrier.wait(10)], threads)


@pytest.mark.parametrize("failing", [0, 4])
def test_an_error_comes_out_when_all_are_done(failing: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    done: list[int] = []

    def call(part: slice) -> None:
        if part.start == failing:
            raise ValueError("of one")
        time.sleep(0.05)
        done.append(part.start)

    try:
        with pytest.raises(ValueError, match="of one"):
            on_threads(call, 5)
    finally:
        torch.set_num_threads(before)
    assert sorted(done) == [i for i in range(5) if i != failing]


def _in_child() -> None:
    torch.set_num_threads(3)
    done: list[int] = []
    on_threads(lambda part: done.append(part.start), 3)
    assert sorted(done) == [0, 1, 2]


def test_after_a_fork() -> None:
    """The child has none of its parent's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    on_threads(lambda part: None, 3)
    torch.set_num_threads(before)
    child = multiprocessing.get_context("fork").Process(target=_in_child)
    child.start()
    child.join(60)
    hangs = child.is_alive()
    child.kill()
    assert not hangs
    assert child.exitcode == 0
