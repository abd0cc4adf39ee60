"""SIGTERM and SIGHUP while a command runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aedmae_fast.interruption import STOPS, stops_interrupt


@pytest.fixture(params=STOPS)
def stop(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """One of the signals; whatever becomes of its handler, it is put back."""
    before = signal.getsignal(request.param)
    yield request.param
    signal.signal(request.param, before)


@pytest.fixture
def heard(stop: signal.Signals) -> list[int]:
    """The signals that a handler got, which is there before."""
    signals: list[int] = []
    signal.signal(stop, lambda number, _: signals.append(number))
    return signals


@stops_interrupt()
def stopped(by: signal.Signals) -> None:
    signal.raise_signal(by)


def test_it_is_a_keyboard_interrupt_meanwhile(stop: signal.Signals, heard: list[int]) -> None:
    before = signal.getsignal(stop)
    with pytest.raises(KeyboardInterrupt):
        stopped(stop)
    assert heard == []
    assert signal.getsignal(stop) is before


def test_what_is_ignored_stays_so(stop: signal.Signals) -> None:
    """As SIGHUP is under ``nohup``, so that the command outlives its terminal."""
    signal.signal(stop, signal.SIG_IGN)
    stopped(stop)
    assert signal.getsignal(stop) == signal.SIG_IGN


def test_a_command_runs_in_any_thread(stop: signal.Signals, heard: list[int]) -> None:
    """Another than the main one cannot say what a signal does."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(stopped, stop).result()
