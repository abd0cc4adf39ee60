"""benchmarks/tune.py: a candidate is launched as it says, checked, and timed beside the shipped one; nothing stays."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops.triton import why_no_fp8
from tests.conftest import TINY
from tests.ops.triton_device import DEVICE

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
BF16, FP8 = torch.bfloat16, torch.float8_e4m3fn
OPS = ("attention", "linear", "mlp", "dwconv_qkv", "patch_embed", "discrepancy_map")


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A module of the benchmark, which is a script with a folder of parts."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("tune", "tune_parts", "stamp", "device_clock"):
            del sys.modules[name]


@pytest.fixture
def small(part: Any, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, torch.dtype], Any]:
    """The cases of a small network, of few frames, by op and precision."""
    sweep, cases = part("tune_parts.sweep"), part("tune_parts.cases")
    monkeypatch.setattr(sweep, "CHECKED", 2)
    monkeypatch.setattr(sweep, "FRAMES", 1)
    found = [case for dtype in (BF16, FP8) for _, case in cases._cases_of(TINY, dtype, "cpu")]
    return {(case.op, case.dtype): on_device(case) for case in found}  # of encoder and decoder, the decoder


def on_device(case: Any) -> Any:
    """Its data, drawn on the CPU: the same on every device."""

    def make(frames: int) -> list[Any]:
        return [x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in case.make(frames)]

    return dataclasses.replace(case, make=make)


def test_every_size_of_every_configuration_comes_once(part: Any) -> None:
    found = part("tune_parts.cases").cases("meta", (BF16, FP8))
    assert len({(case.op, case.part, case.dtype) for case in found}) == len(found)
    assert {case.op for case in found if case.dtype == BF16} == set(OPS)
    assert {case.op for case in found if case.dtype == FP8} == {"linear", "mlp", "dwconv_qkv"}
    for case in found:
        assert case.module.LAUNCH[case.dtype] == case.shipped
        assert set(case.part.split("(")[1].rstrip(")").split(", ")) <= CONFIGS.keys()


def test_candidates_begin_with_what_is_shipped_and_its_neighbours(part: Any, small: dict[Any, Any]) -> None:
    for case in small.values():
        found = list(case.candidates())
        distance = [sum(c[name] != case.shipped[name] for name in c) for c in found]
        assert found[0] == case.shipped
        assert distance == sorted(distance)
        assert len({tuple(sorted(c.items())) for c in found}) == len(found)
        assert all(c.keys() == case.shipped.keys() for c in found)
        assert case.dtype == BF16 or {c.get("BLOCK_K", 32) for c in found} == {32}


@pytest.mark.parametrize("op", OPS)
def test_parameters_reach_the_launch_and_do_not_stay(
    part: Any, small: dict[Any, Any], monkeypatch: pytest.MonkeyPatch, op: str
) -> None:
    case, seen = small[op, BF16], []
    launch = case.module.launch

    def record(kernel: Any, programs: int, *args: Any, **options: Any) -> None:
        seen.append(options)
        launch(kernel, programs, *args, **options)

    monkeypatch.setattr(case.module, "launch", record)
    shipped, candidate = case.shipped, {**case.shipped, "BLOCK_M": 32, "num_warps": 2}
    assert part("tune_parts.sweep").error_of(case, candidate) < 4e-3
    assert any(options.get("BLOCK_M") == 32 and options["num_warps"] == 2 for options in seen)
    assert case.shipped == shipped


@pytest.mark.skipif(DEVICE == "cuda" and bool(why_no_fp8()), reason="the GPU has no float8")
@pytest.mark.parametrize("op", ["linear", "mlp", "dwconv_qkv"])
def test_float8_is_held_against_its_own_specification(part: Any, small: dict[Any, Any], op: str) -> None:
    case = small[op, FP8]
    assert part("tune_parts.sweep").error_of(case, case.shipped) < 4e-3


def test_what_is_faster_but_not_the_same_every_time_is_not_proposed(
    part: Any, small: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tune, sweep, case = part("tune"), part("tune_parts.sweep"), small["mlp", BF16]
    monkeypatch.setattr(sweep, "error_of", lambda case, parameters: 0.0)
    runs = iter(range(1000))
    monkeypatch.setattr(type(case), "run", lambda self, arguments: torch.tensor(next(runs) // (sweep.REPEATS - 1)))
    faster = sweep.attempt(case, {**case.shipped, "BLOCK_M": 32}, lambda *_: [1.0, 2.0])
    assert (faster.us, faster.over_shipped, faster.why) == (None, None, "other bits within 20 runs")
    slower = sweep.attempt(case, {**case.shipped, "BLOCK_M": 32}, lambda *_: [2.0, 1.0])
    assert (slower.us, slower.over_shipped, slower.why) == (2, 2, "")
    assert tune.best([faster, slower]) == [slower]


def test_the_sweep_times_what_is_right_and_says_what_is_best(
    part: Any, small: dict[Any, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tune, sweep, case = part("tune"), part("tune_parts.sweep"), small["mlp", BF16]
    candidates = [case.shipped, *({**case.shipped, "BLOCK_M": m} for m in (32, 128, 16))]
    monkeypatch.setattr(type(case), "candidates", lambda self: iter(candidates))
    right = sweep.error_of

    def error_of(case: Any, parameters: dict[str, int]) -> float:
        if parameters["BLOCK_M"] == 128:
            raise RuntimeError("out of resource: shared memory\nand more")
        return 0.5 if parameters["BLOCK_M"] == 16 else right(case, parameters)

    def timer(case: Any, inputs: list[Any], parameters: list[dict[str, int]]) -> list[float]:
        assert len(inputs) >= 2
        assert not torch.equal(inputs[0][0], inputs[1][0])
        return [float(each["BLOCK_M"]) for each in parameters]

    monkeypatch.setattr(sweep, "error_of", error_of)
    seen: list[Any] = []
    rows, left = sweep.sweep([case], timer, 60, seen.append)
    assert (rows, left) == (seen, 0)
    assert [(row.shipped, row.us, row.over_shipped) for row in rows] == [
        (True, 64, 1),
        (False, 32, 0.5),
        (False, None, None),
        (False, None, None),
    ]
    assert rows[2].why == "RuntimeError: out of resource: shared memory"
    assert rows[3].why == "wrong: error 5.0e-01 is above 4e-03"
    assert tune.best(rows) == [rows[1]]
    assert [tune.line(row)[0] for row in rows] == ["*", " ", " ", " "]
    assert "M32 R32 w8 s2" in tune.line(rows[1])
    report = json.loads(json.dumps(tune.report(rows, left, {})))
    assert list(report)[-1] == "summary"
    summary = report["summary"]
    assert (summary["tried"], summary["refused"], summary["not_tried"]) == (4, 2, 0)
    assert summary["best"][0]["parameters"]["BLOCK_M"] == 32


def test_when_the_time_is_up_every_case_had_its_turn(
    part: Any, small: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, found = part("tune_parts.sweep"), list(small.values())
    monkeypatch.setattr(sweep, "error_of", lambda case, parameters: 0.0)
    now = iter(range(1000))
    monkeypatch.setattr(sweep.time, "monotonic", lambda: next(now))
    minutes = (2 * len(found) + 1) / 60  # two turns of each
    rows, left = sweep.sweep(found, lambda case, inputs, parameters: [1.0, 1.0], minutes, lambda row: None)
    assert [(row.op, row.dtype) for row in rows[: len(found)]] == [(c.op, str(c.dtype)[6:]) for c in found]
    assert all(row.shipped for row in rows[: len(found)])
    assert len(rows) + left == sum(len(list(case.candidates())) for case in found)
    assert 2 * len(found) <= len(rows) <= 2 * len(found) + 2


def test_what_fails_while_it_is_timed_costs_no_other(
    part: Any, small: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, case = part("tune_parts.sweep"), small["mlp", BF16]
    monkeypatch.setattr(sweep, "error_of", lambda case, parameters: 0.0)
    monkeypatch.setattr(type(case), "candidates", lambda self: iter([self.shipped] * 3))

    def timer(*_: Any) -> list[float]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")

    rows, left = sweep.sweep([case], timer, 60, lambda row: None)
    assert [(row.error, row.why) for row in rows] == [
        (0, "RuntimeError: CUDA error: an illegal memory access was encountered")
    ] * 3
    assert left == 0


def test_when_the_device_is_lost_the_rest_counts_as_not_tried(
    part: Any, small: dict[Any, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tune, sweep, found = part("tune"), part("tune_parts.sweep"), list(small.values())
    broken: list[Any] = []

    def error_of(case: Any, parameters: dict[str, int]) -> float:
        if broken or case.op == "mlp":
            broken.append(case)
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return 0.0

    for module in (tune, sweep):
        monkeypatch.setattr(module, "why_lost", lambda: "CUDA error" if broken else "")
    monkeypatch.setattr(sweep, "error_of", error_of)
    monkeypatch.setattr(tune, "on_device", lambda case, inputs, parameters: [1.0, 1.0])
    monkeypatch.setattr(tune, "why_no_triton", lambda: "")
    monkeypatch.setattr(tune, "cases", lambda device, dtypes: found)
    monkeypatch.setattr(tune, "stamp", lambda device: {"device": "stand-in"})
    monkeypatch.setattr(sys, "argv", ["tune.py", "--json", str(tmp_path / "tune.json")])
    with pytest.raises(SystemExit, match="the last one that was tried lost the device: CUDA error"):
        tune.main()
    report = json.loads((tmp_path / "tune.json").read_text())
    assert report["device"] == "stand-in"
    assert [row["op"] for row in report["rows"] if row["why"]] == ["mlp"]
    assert report["rows"][-1]["op"] == "mlp"
    summary = report["summary"]
    assert summary["tried"] + summary["not_tried"] == sum(len(list(case.candidates())) for case in found)


def test_without_a_gpu_it_says_so(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tune = part("tune")
    monkeypatch.setattr(tune, "why_no_triton", lambda: "no CUDA device")
    monkeypatch.setattr(sys, "argv", ["tune.py"])
    with pytest.raises(SystemExit, match="nothing to tune: no CUDA device"):
        tune.main()


# What only a GPU shows


@pytest.mark.needs_cuda
def test_on_gpu_the_shipped_parameters_take_as_long_as_themselves(part: Any, small: dict[Any, Any]) -> None:
    sweep = part("tune_parts.sweep")
    for case in small.values():
        if case.dtype == BF16:
            row = sweep.attempt(case, case.shipped, sweep.on_device)
            assert row.why == ""
            assert 0.5 < row.over_shipped < 2
