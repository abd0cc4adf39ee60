"""benchmarks/ped2.py and ablation.py: what they do with the runs that they start, without one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from aedmae_fast.model.network import AedMae
from tests.conftest import TINY

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A benchmark, which is a script beside others."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in ("ped2", "ablation", "stamp", "training"):
            del sys.modules[name]


def test_a_seed_that_fails_leaves_none_running(program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ped2 = program("ped2")
    waited: list[int] = []

    def start(seed: int, _: object) -> object:
        return SimpleNamespace(wait=lambda: waited.append(seed) or 1 - seed)

    monkeypatch.setattr(ped2, "start_training", start)
    monkeypatch.setattr(sys, "argv", ["ped2.py", "--data", "x", "--out", str(tmp_path), "--at-once", "2"])
    with pytest.raises(SystemExit, match="training failed"):
        ped2.main()
    assert waited == [0, 1]


@pytest.mark.parametrize(
    ("row", "class_head", "expected"),
    [
        ("all of it", True, ["teacher", "gap", "teacher + gap", "paper (Eq. 6)", "anomaly-map"]),
        ("no self-distillation", True, ["teacher", "anomaly-map"]),
        ("no class head", False, ["teacher", "gap", "teacher + gap"]),
        ("0 % synthetic", False, ["teacher", "gap", "teacher + gap"]),
    ],
)
def test_no_row_scores_with_what_was_not_trained(program: Any, row: str, class_head: bool, expected: list[str]) -> None:
    ablation = program("ablation")
    model = AedMae(replace(TINY, class_head=class_head))
    assert [name for name, preset in ablation.TERMS.items() if ablation.trained(row, model, preset)] == expected
