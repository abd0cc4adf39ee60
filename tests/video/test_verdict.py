"""The clock: times follow the PTS through what recorders do to them."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from aedmae_fast.video.verdict import Clock

FPS = 25.0
MS = 0.001


class Frame(NamedTuple):
    pts: int | None


def told(*pts: int | None, unit: float | None = MS) -> list[float]:
    return [round(time, 6) for time, _ in Clock(unit, FPS).timed(map(Frame, pts))]


def test_times_count_from_the_first_frame_and_keep_gaps() -> None:
    assert told(1000, 1040, 61000) == [0.0, 0.04, 60.0]
    assert told(1000, 1040, 3601000, 3601040) == [0.0, 0.04, 3600.0, 3600.04]
    assert told(0, 5000, 10_000, 20_000) == [0.0, 5.0, 10.0, 20.0]  # a frame now and then


@pytest.mark.parametrize("glitch", [None, 40, 30])
def test_one_bad_pts_costs_one_time(glitch: int | None) -> None:
    """Two frames of one burst in the same millisecond, or a packet without a PTS: the gap after it is still there."""
    assert told(0, 40, glitch, 120, 600_000) == [0.0, 0.04, 0.08, 0.12, 600.0]


@pytest.mark.parametrize("glitch", [0, 300_000, 400_000, 23_862_000, -5000])
def test_one_damaged_pts_costs_one_time(glitch: int) -> None:
    """A bit of it is another: the frame comes after the last one, and all others stay where they are."""
    assert told(360_000, 360_040, glitch, 360_120, 360_160) == [0.0, 0.04, 0.08, 0.12, 0.16]
    times = [0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24]
    assert told(360_000, 360_040, glitch, 360_120, None, glitch, 360_240) == times


def test_times_never_go_back() -> None:
    assert told(0, 40, 40, 41, 42, 200) == [0.0, 0.04, 0.08, 0.08, 0.08, 0.2]


def test_a_clock_that_is_set_anew_goes_on() -> None:
    """Recordings one after the other in one file, each of which starts at the same time."""
    times = [0.0, 0.04, 3.0, 3.04, 3.08, 3.12, 7.08]
    assert told(5000, 5040, 8000, 8040, 5000, 5040, 9000) == times


def test_a_step_back_that_was_taken_for_a_wrap_is_a_clock_set_anew() -> None:
    """Of two joined transport streams, the second recorded an hour before the first: FFmpeg adds 2^33 ticks to it."""
    first, later = 3600 * 90_000, 2**33
    stamps = first, first + 3600, later, later + 3600
    assert told(*stamps, unit=1 / 90_000) == [0.0, 0.04, 0.08, 0.12]
    half_a_day = first + 12 * 3600 * 90_000
    assert told(first, half_a_day, half_a_day + 3600, unit=1 / 90_000) == [0.0, 43_200.0, 43_200.04]


def test_a_slow_cameras_clock_that_is_set_back_goes_on() -> None:
    """By little more than the time between two frames, so that the next one is nearer to the clock before."""
    clock = Clock(MS, fps=1.0)
    stamps = 5000, 6000, 7000, 8000, 6500, 7500, 8500
    times = [time for time, _ in clock.timed(map(Frame, stamps))]
    assert times == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert not clock.seekable


def test_without_pts_times_go_by_the_rate() -> None:
    by_the_rate = [0.0, 0.04, 0.08]
    assert told(None, None, None) == told(7, 7, 7) == told(7, 500, 3, unit=None) == by_the_rate
