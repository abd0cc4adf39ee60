"""benchmarks/gpu_check.sh without a GPU: its commands are such as their programs take, and it fails at once."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import runpy
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu_check.sh"
PARTS = (
    *("build", "probe", "tests", "triton", "fps", "ops", "tune", "compiled", "scene"),
    *("racecheck", "memcheck", "formats", "ped2"),
)
PROGRAMS = {  # of each part, in the order of its commands
    "build": ["pip", "aedmae_fast.env", "pip"],
    "probe": ["aedmae_fast.env"],
    "tests": ["pytest"] * 2,
    "triton": ["pytest"],
    "fps": ["benchmarks/fps.py"],
    "ops": ["benchmarks/ops.py"],
    "tune": ["benchmarks/tune.py"] * 2,
    "compiled": ["benchmarks/fps.py"],
    "scene": ["aedmae_fast.train", "aedmae_fast.evaluate"],
    "racecheck": ["pytest"],
    "memcheck": ["pytest"],
    "formats": ["benchmarks/fps.py"],
    "ped2": ["benchmarks/ped2.py"],
}
END = "(end)"
STAND_IN = f"""#!/bin/sh
[ "$1" = - ] && cat > /dev/null
printf '%s\\n' "$@" '{END}' >> "$COMMANDS"
case "$*" in *native.cpu*) [ -z "$BARE" ] || grep -qx install "$COMMANDS" || exit 1 ;; esac
case "$*" in *"$FAILING"*) exit 1 ;; esac
"""


class Parsed(BaseException):
    """A program has taken its arguments."""


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """The environment in which programs note what they are called with, and do nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python3", "nvidia-smi", "ldconfig", "compute-sanitizer"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "COMMANDS": str(tmp_path / "commands"), "FAILING": "nothing", "BARE": ""}


def run(part: str, results: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", SCRIPT, part, results], env=env, capture_output=True, text=True, check=False)


def commands(env: dict[str, str]) -> list[list[str]]:
    """What was run in Python: a program or a module, and its arguments."""
    found = [text.splitlines() for text in Path(env["COMMANDS"]).read_text().split(f"{END}\n") if text]
    after = [words[words.index("python3") + 1 :] if "python3" in words else words for words in found]
    modules = [words[1:] if words[:1] == ["-m"] else words for words in after]
    return [words for words in modules if words and words[0] in {name for names in PROGRAMS.values() for name in names}]


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs end where they have parsed their arguments; what they import of the benchmarks is forgotten."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *args: Any, **how: Any) -> None:
        parse(self, *args, **how)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(SCRIPT.parent)):
            del sys.modules[name]


@pytest.mark.parametrize("part", PARTS)
def test_every_command_is_one_that_its_program_takes(
    part: str, tmp_path: Path, stand_ins: dict[str, str], parse_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(part, tmp_path / "results", stand_ins)
    assert done.returncode == 0, done.stderr
    found = commands(stand_ins)
    assert [words[0] for words in found] == PROGRAMS[part]
    for program, *arguments in found:
        if program in ("pip", "aedmae_fast.env"):
            continue
        if program == "pytest":
            assert all((ROOT / word).exists() for word in arguments if word.startswith("tests/"))
            continue
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        start = (
            partial(runpy.run_path, str(ROOT / program))
            if program.endswith(".py")
            else partial(runpy.run_module, program)
        )
        with pytest.raises(Parsed):
            start(run_name="__main__")


@pytest.mark.parametrize(("failing", "decoder"), [("nothing", "dali"), ("- dali", "nvdec"), ("- nvdec", "dali")])
def test_decoding_is_done_by_what_works(tmp_path: Path, stand_ins: dict[str, str], failing: str, decoder: str) -> None:
    for part in ("probe", "fps"):
        run(part, tmp_path, stand_ins | {"FAILING": failing})
    words = commands(stand_ins)[-1]
    assert words[words.index("--decoder") + 1] == decoder


def test_a_part_builds_what_is_not_there(tmp_path: Path, stand_ins: dict[str, str]) -> None:
    done = run("ops", tmp_path / "results", stand_ins | {"BARE": "1"})
    assert done.returncode == 0, done.stderr
    assert [words[0] for words in commands(stand_ins)] == PROGRAMS["build"] + PROGRAMS["ops"]


def test_a_part_is_not_run_where_nothing_can_be_built(tmp_path: Path, stand_ins: dict[str, str]) -> None:
    done = run("ops", tmp_path / "results", stand_ins | {"FAILING": "native.cpu"})
    assert done.returncode == 1
    assert [words[0] for words in commands(stand_ins)] == PROGRAMS["build"]


def test_the_build_is_part_of_the_time(tmp_path: Path, stand_ins: dict[str, str]) -> None:
    run("tune", tmp_path / "results", stand_ins | {"LIMIT": "420"})
    minutes = [float(words[words.index("--minutes") + 1]) for words in commands(stand_ins)]
    assert 5.5 < sum(minutes) <= 6


def test_every_operation_is_tuned_once(tmp_path: Path, stand_ins: dict[str, str], parse_only: None) -> None:
    sys.path.insert(0, str(SCRIPT.parent))
    spaces = importlib.import_module("tune_parts.cases").SPACES
    run("tune", tmp_path / "results", stand_ins)
    ops = [op for words in commands(stand_ins) for op in words[words.index("--ops") + 1 :]]
    assert sorted(ops) == sorted(spaces)
    assert ops[-1] == "attention"


def test_what_the_build_leaves_no_time_for_is_not_begun(tmp_path: Path, stand_ins: dict[str, str]) -> None:
    done = run("tune", tmp_path / "results", stand_ins | {"LIMIT": "90"})
    assert done.returncode == 1
    assert re.search(r"tune: not begun, [-\d]+ s are left", done.stdout)
    assert commands(stand_ins) == []


def test_checkpoints_are_packed_one_by_one_and_states_not_at_all(tmp_path: Path, stand_ins: dict[str, str]) -> None:
    results = tmp_path / "results"
    for name in (
        "scene/model.safetensors",
        "ped2/seed0/model.safetensors",
        "ped2/seed0/state.pt",
        "ped2/seed0/log.csv",
    ):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(name)
    run("ops", results, stand_ins | {"PACK": str(tmp_path / "ops.tgz")})
    packs = {}
    for path in tmp_path.glob("*.tgz"):
        with tarfile.open(path) as pack:
            packs[path.name] = pack.getnames()
    assert packs.keys() == {"ops.tgz", "ops-scene.tgz", "ops-ped2-seed0.tgz"}
    assert packs["ops-ped2-seed0.tgz"] == ["results/ped2/seed0/model.safetensors"]
    assert "results/ped2/seed0/log.csv" in packs["ops.tgz"]
    assert not [name for name in packs["ops.tgz"] if name.endswith((".pt", ".safetensors"))]


def test_all_goes_on_after_a_part_that_fails(tmp_path: Path, stand_ins: dict[str, str]) -> None:
    done = run("all", tmp_path / "results", stand_ins | {"FAILING": "benchmarks/tune.py"})
    assert done.returncode == 1
    assert done.stderr.endswith("failed: tune\n")
    assert [words[0] for words in commands(stand_ins)] == [name for part in PARTS for name in PROGRAMS[part]]


def test_an_unknown_part_is_a_usage_error(tmp_path: Path) -> None:
    done = run("everything", tmp_path, dict(os.environ))
    assert done.returncode == 2
    assert done.stderr == f"unknown part: everything; expected {' '.join(PARTS)} or all\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = run("tune", tmp_path, {**os.environ, "PATH": path})
    assert done.returncode == 1
    assert done.stderr.startswith(f"no CUDA device: torch {torch.__version__}")
