"""The calibration: what is chosen of times that are given, what is kept, and that it works with real times."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aedmae_fast import Scorer
from aedmae_fast.engine import calibrate, cores
from aedmae_fast.engine.calibrate import ROUNDS, Way, calibrated, measure
from aedmae_fast.model.network import AedMae
from tests.conftest import TINY

WAYS = [Way(8, 4), Way(8, 2), Way(4, 4), Way(4, 2)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(calibrate, "SECONDS", 0.0)
    return tmp_path / "aedmae_fast" / "calibration.json"


def timers(times: dict[Way, list[float]]) -> Callable[[Way], Callable[[], float]]:
    """What gives these times in turn, the last for ever; the first is the warm-up's."""

    def timer(way: Way) -> Callable[[], float]:
        left = list(times[way])
        return lambda: left.pop(0) if len(left) > 1 else left[0]

    return timer


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({WAYS[0]: [9, 1.0], WAYS[1]: [9, 2.0], WAYS[2]: [9, 2.0], WAYS[3]: [9, 2.0]}, WAYS[0]),
        ({WAYS[0]: [9, 2.0], WAYS[1]: [9, 1.5], WAYS[2]: [9, 1.2], WAYS[3]: [9, 1.3]}, WAYS[2]),
        ({WAYS[0]: [9, 1.0], WAYS[1]: [9, 0.96], WAYS[2]: [9, 1.0], WAYS[3]: [9, 1.0]}, WAYS[0]),  # not worth it
        ({WAYS[0]: [9, 7, 1, 7], WAYS[1]: [9, 2, 2], WAYS[2]: [9, 2], WAYS[3]: [9, 2]}, WAYS[0]),  # the best turn
        ({WAYS[0]: [9, 1.0], WAYS[1]: [0.1, 2.0], WAYS[2]: [9, 2.0], WAYS[3]: [9, 2.0]}, WAYS[0]),  # not the warm-up
    ],
)
def test_the_rule_holds_unless_another_way_is_worth_it(times: dict[Way, list[float]], chosen: Way) -> None:
    assert measure(WAYS, timers(times))[0] == chosen


def test_all_take_turns() -> None:
    turns: list[Way] = []

    def timer(way: Way) -> Callable[[], float]:
        return lambda: turns.append(way) or 1.0  # type: ignore[func-returns-value]

    measure(WAYS, timer)
    assert turns == WAYS * (1 + ROUNDS)


def test_it_is_measured_once_for_each_network_and_precision(cache: Path) -> None:
    state = torch.get_rng_state()
    way, why = calibrated(TINY, "fp32")
    assert torch.equal(torch.get_rng_state(), state)
    assert way.threads in (cores.usable_cores()[0], cores.distinct_cores())
    assert way.frames in (1, 2, 4)
    assert why.startswith("measured ")
    assert str(cache) in why
    assert calibrated(TINY, "fp32") == (way, f"measured here before; kept in {cache}")
    count = 3 * len(calibrate._thread_counts())
    for config, precision in ((TINY, "bf16"), (replace(TINY, patch=16), "fp32")):
        assert calibrated(config, precision)[1].startswith(f"measured {count} ways")
    assert len(json.loads(cache.read_text())) == 3


def test_machines_that_share_a_home_and_a_name_do_not_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calibrated(TINY, "fp32")
    monkeypatch.setattr(calibrate, "cpu_generation", lambda: "family 6, model 0")
    assert calibrated(TINY, "fp32")[1].startswith(f"measured {3 * len(calibrate._thread_counts())} ways")
    assert calibrated(TINY, "fp32")[1].startswith("measured here before")


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": [1, null]}', "\xff"])
def test_a_broken_file_is_measured_anew(cache: Path, content: str) -> None:
    cache.parent.mkdir()
    cache.write_text(content)
    assert not calibrated(TINY, "fp32")[1].startswith("measured here before")
    assert calibrated(TINY, "fp32")[1].startswith("measured here before")


def test_a_way_that_is_none_is_measured_anew(cache: Path) -> None:
    calibrated(TINY, "fp32")
    cache.write_text(json.dumps({key: [0, 4] for key in json.loads(cache.read_text())}))
    way, known = calibrated(TINY, "fp32")
    assert way.threads > 0
    assert not known.startswith("measured here before")


def test_a_cache_that_cannot_be_written_is_no_trouble(cache: Path) -> None:
    cache.parent.write_text("in the way")
    assert f"not kept: {cache} cannot be written" in calibrated(TINY, "fp32")[1]


def test_logical_cores_that_share_their_arithmetic_are_tried_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "TOPOLOGY", tmp_path / "cpu")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 9}, raising=False)
    for core, siblings in {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}.items():  # of 9 nothing is known
        (tmp_path / "cpu" / f"cpu{core}" / "topology").mkdir(parents=True)
        (tmp_path / "cpu" / f"cpu{core}" / "topology" / "thread_siblings_list").write_text(siblings + "\n")
    assert cores.distinct_cores() == 3
    monkeypatch.setattr(calibrate, "usable_cores", lambda: (5, "5 cores"))
    assert calibrate._thread_counts() == [5, 3]
    monkeypatch.setattr(calibrate, "usable_cores", lambda: (2, "a quota of 2 of 5 cores"))
    assert calibrate._thread_counts() == [2]


def test_a_scorer_asks_for_it_where_both_are_auto(tiny_model: AedMae, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aedmae_fast.engine.choose.calibrated", lambda *_: (Way(3, 2), "measured"))
    choices = Scorer(tiny_model, device="cpu").choices
    assert (choices["threads"].value, choices["batch size"].value) == ("3", "6")
    assert choices["threads"].why.endswith("; measured")
    for wish in ({"threads": 1}, {"batch_size": 5}):
        assert "measured" not in Scorer(tiny_model, device="cpu", **wish).choices["threads"].why


def test_a_user_without_a_home_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it is where nobody has one
    for _ in range(2):
        assert "not kept: ~/.cache/aedmae_fast/calibration.json cannot be written" in calibrated(TINY, "fp32")[1]
    assert not Path("~").exists()
