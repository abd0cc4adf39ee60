"""benchmarks/ped2.py and ablation.py: what they do with the runs that they start, without one."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.training.options import config_of, make_parser, settings_of
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

    def start(command: list[str], _: object) -> object:
        seed = int(command[command.index("--seed") + 1])
        return SimpleNamespace(wait=lambda: waited.append(seed) or 1 - seed)

    monkeypatch.setattr(ped2, "start_training", start)
    monkeypatch.setattr(sys, "argv", ["ped2.py", "--data", "x", "--out", str(tmp_path), "--at-once", "2"])
    with pytest.raises(SystemExit, match="training failed"):
        ped2.main()
    assert waited == [0, 1]


FLAGS = "--config ped2 --height 32 --width 64 --patch 8 --teacher-epochs 2 --student-epochs 1"


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """Of ped2.py, for one small network."""
    return argparse.Namespace(data=tmp_path / "data", layout="clips", out=tmp_path / "runs", train=FLAGS, at_once=1)


@pytest.mark.parametrize(
    ("epochs", "asked", "expected"),
    [("3", FLAGS, True), ("2", FLAGS, False), ("3", f"{FLAGS} --lr 0.5", False), ("3", f"{FLAGS} --width 160", False)],
)
def test_what_is_trained_is_not_trained_again(
    program: Any, options: argparse.Namespace, epochs: str, asked: str, expected: bool
) -> None:
    """Its checkpoint tells, without the run's state."""
    ped2, training = program("ped2"), program("training")
    command = ped2.training_of(0, options)
    assert not training.is_trained(command)
    chosen = make_parser().parse_args(command[3:])
    schedule = json.dumps(settings_of(chosen).to_dict())
    about = {"data": "data", "layout": "clips", "precision": "bf16", "schedule": schedule, "epochs": epochs}
    (options.out / "seed0").mkdir(parents=True)
    save_model(AedMae(config_of(chosen)), options.out / "seed0" / "model.safetensors", about)
    options.train = asked
    assert training.is_trained(ped2.training_of(0, options)) == expected
    assert not training.is_trained(ped2.training_of(1, options))


def test_an_evaluation_that_is_cut_short_leaves_its_rows(
    program: Any, options: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ped2, path = program("ped2"), tmp_path / "ped2.json"

    def evaluate(seed: int, checkpoint: Path, preset: str, precision: str, _: object) -> dict[str, Any]:
        if precision == "bf16" and seed:
            raise KeyboardInterrupt
        figures = dict.fromkeys(ped2.FIGURES, 50.0 + seed)
        return {"seed": seed, "preset": preset, "precision": precision, **figures, "baseline": figures}

    monkeypatch.setattr(ped2, "is_trained", lambda command: True)
    monkeypatch.setattr(ped2, "evaluate", evaluate)
    monkeypatch.setattr(ped2, "eight_bits_on", lambda device: None)
    arguments = ["--data", str(options.data), "--out", str(options.out), "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["ped2.py", *arguments])
    with pytest.raises(KeyboardInterrupt):
        ped2.main()
    report = json.loads(path.read_text())
    assert (len(report["rows"]), report["not_evaluated"]) == (7, 5)  # 2 seeds, 3 presets, 2 precisions
    assert [(row["preset"], row["precision"], row["seeds"]) for row in report["summary"]][:2] == [
        ("anomaly-map", "fp32", 2),
        ("anomaly-map", "bf16", 1),
    ]
    assert report["summary"][0]["micro_auc"] == {"mean": 50.5, "low": 50.0, "high": 51.0}


def test_the_folder_of_the_result_is_made_before_anything_is_trained(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "folder" / "x.json"

    def start(*_: object) -> object:
        assert path.parent.is_dir()
        return SimpleNamespace(wait=lambda: 1)

    ped2 = program("ped2")
    monkeypatch.setattr(ped2, "start_training", start)
    monkeypatch.setattr(sys, "argv", ["ped2.py", "--data", "x", "--out", str(tmp_path), "--json", str(path)])
    with pytest.raises(SystemExit, match="training failed"):
        ped2.main()
    stamp = program("stamp")
    assert stamp.result_path("kind", "cpu", path) == path
    stamp.write_report(path, {"rows": []})
    assert json.loads(path.read_text()) == {"rows": []}
    assert capsys.readouterr().out == f"wrote {path}\n"


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
