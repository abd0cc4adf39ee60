"""What counts as silence: the time that was watched, since the last beat."""

from __future__ import annotations

import time

import pytest

from aedmae_fast.engine.silence import LOOK, Silence


def test_time_counts_since_the_last_beat_and_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    silence = Silence()
    found = []
    for passed, beats in ((LOOK, 0), (LOOK, 0), (LOOK, 0), (LOOK, 1), (LOOK, 1), (3600, 1), (LOOK, 1), (LOOK, 3)):
        now += passed
        found.append(silence.seconds(beats))
    assert found == [0, LOOK, 2 * LOOK, 0, LOOK, 3 * LOOK, 4 * LOOK, 0]  # of the hour asleep no more than two looks
