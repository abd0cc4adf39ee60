"""SIGTERM while a command runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aedmae_fast.interruption import sigterm_interrupts


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The SIGTERM that a handler got, which is there before."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    yield signals
    signal.signal(signal.SIGTERM, before)


@sigterm_interrupts()
def terminated() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_it_is_a_keyboard_interrupt_meanwhile(heard: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        terminated()
    assert heard == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_runs_in_any_thread(heard: list[int]) -> None:
    """Another than the main one cannot say what a signal does."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(terminated).result()
