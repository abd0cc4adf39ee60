"""Events: stretches around peaks, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aedmae_fast.engine.events import MOST, QUIET, Event, find_events


def test_stretches_end_in_the_middle_between_peak_and_quiet() -> None:
    score = np.zeros(100)
    score[20:27] = [1, 4, 6, 10, 6, 4, 1]  # above 5: 22..24
    score[60:64] = [3, 8, 7, 4]  # its middle is 4: 61..63
    score[90] = 4.9  # below the middle of the highest
    assert find_events(score, score) == [Event(22, 24, 10.0, 23), Event(61, 63, 8.0, 61)]


def test_a_stretch_ends_where_a_higher_one_begins() -> None:
    score = np.zeros(50)
    score[10:16] = [5.5, 9, 10, 9, 4.5, 6]  # 10..13 above 5; the 6 is a peak of its own, with the 4.5 above 3
    assert find_events(score, score) == [Event(10, 13, 10.0, 12), Event(14, 15, 6.0, 15)]


def test_the_frame_to_look_at_has_the_highest_raw_score() -> None:
    score, raw = np.zeros(50), np.zeros(50)
    score[10:15], raw[10:16] = [6, 9, 10, 9, 6], [1, 0, 2, 7, 3, 9]
    assert find_events(score, raw) == [Event(10, 14, 10.0, 13)]


def test_events_may_touch_the_ends_of_the_clip() -> None:
    score = np.zeros(30)
    score[0], score[-2:] = 3, 4
    assert find_events(score, score) == [Event(28, 29, 4.0, 28), Event(0, 0, 3.0, 0)]


@pytest.mark.parametrize("score", [[], [1.0], [2.0] * 9, [np.nan] * 3])
def test_nothing_stands_out(score: list[float]) -> None:
    assert find_events(np.array(score, dtype=np.float64), np.array(score, dtype=np.float64)) == []


def test_most_of_a_clip_may_be_one_event() -> None:
    score = np.concatenate([np.zeros(20), np.linspace(4, 5, 80)])
    assert find_events(score, score) == [Event(20, 99, 5.0, 99)]


def test_what_is_not_finite_is_in_no_event() -> None:
    score = np.array([0, 0, 0, 5, np.nan, 5, np.inf, 0, 0])
    assert find_events(score, score) == [Event(3, 3, 5.0, 3), Event(5, 5, 5.0, 5)]


def test_as_many_as_there_may_be() -> None:
    score = np.zeros(1000)
    score[::10] = 1
    assert len(find_events(score, score)) == MOST


@given(arrays.arrays(np.float64, st.integers(0, 60), elements=st.floats(-9, 9)))
def test_of_any_scores(score: np.ndarray) -> None:
    events = find_events(score, score)
    assert [e.score for e in events] == sorted((e.score for e in events), reverse=True)
    taken = [frame for e in events for frame in range(e.start, e.end + 1)]
    assert len(taken) == len(set(taken))
    for event in events:
        assert event.score == score[event.frame] == score[event.start : event.end + 1].max()
    assert bool(events) == bool(len(score) and score.max() > np.quantile(score, QUIET))
