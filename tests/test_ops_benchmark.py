"""benchmarks/ops.py: what a baseline that fails costs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from aedmae_fast.ops.native import cpu

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield importlib.import_module("ops")
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def test_a_baseline_that_fails_leaves_the_other_rows(part: ModuleType) -> None:
    def broken() -> torch.Tensor:
        raise RuntimeError("it does not compile\nand more")

    x = torch.ones(3)
    baselines = {"eager": lambda: x + 1, "compile": broken, "sdpa": lambda: x + 3}
    case = part.Case("no op", "small", lambda: x + 1, bytes=24, baselines=baselines)
    failed: list[str] = []
    rows = part.measure(case, "cpu", 0, failed)
    assert [row["backend"] for row in rows] == ["autograd", "eager"]
    assert all(row["us"] > 0 and row["over_eager"] > 0 for row in rows)
    assert [(row["over_compile"], row["over_sdpa"], row["over_opencv"]) for row in rows] == [
        ("failed", "failed", "")
    ] * 2
    assert failed == [
        "no op, small: RuntimeError: it does not compile",
        "no op, small: ArithmeticError: sdpa is off by 2.0, more than 0",
    ]


@pytest.mark.skipif(len(cpu().isas()) < 2, reason="the CPU has one instruction set only")
def test_an_instruction_set_that_is_wrong_is_told(part: ModuleType) -> None:
    native = part.native.cpu()

    def run() -> torch.Tensor:
        return torch.full((3,), 2.0 if native.isa() == "base" else 1.0)

    try:
        with pytest.raises(ArithmeticError, match=r"base is off by 1.0, more than 0"):
            part.measure(part.Case("linear", "small", run, bytes=24), "cpu", 0, [])
    finally:
        native.set_isa("auto")


def test_the_matrices_of_the_rate_are_drawn_once(part: ModuleType) -> None:
    yardsticks = importlib.import_module("yardsticks")
    first, second = (yardsticks.square_linears(torch.float32, "cpu")[0] for _ in "12")
    assert first is second


def test_when_the_device_is_lost_the_rest_is_not_tried(
    part: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every later case would fail by the same error, as if it were its own."""

    def measure(case: object, *_: object) -> list[dict[str, object]]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(part, "measure", measure)
    monkeypatch.setattr(part, "why_lost", lambda: "CUDA error")
    monkeypatch.setattr(sys, "argv", ["ops.py", "--ops", "smooth_max", "frame_prep", "--out", str(tmp_path / "ops")])
    with pytest.raises(SystemExit, match="what comes after that was not tried: the device is lost: CUDA error"):
        part.main()
    assert capsys.readouterr().out.count("illegal memory access") == 1
