"""What the Triton kernels compile to for GPUs that are not here, held against ``triton_gates.csv``.

The table has a row for a launch and architecture: the most registers that it takes with Triton 3.6 or 3.7, and whether
its products run on tensor cores and its copies are asynchronous. A figure that grows past its row lowers the number of
programs that fit a multiprocessor; one that has to is changed in the table, with the reason in the commit. Launches
that differ little from a row's have none; ``python -m tests.ops.triton_gates`` shows them all.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TABLE = Path(__file__).with_name("triton_gates.csv")
SHARED = 99 * 1024  # bytes that sm_86 and sm_89, which have the least, give a program
pytestmark = pytest.mark.timeout(1800)  # about a minute of one core, but of a busy one
ROWS = list(csv.DictReader(TABLE.open()))
KEY = ("op", "config", "dtype", "kernel", "arch")


ONE_ROW = """
import torch
from aedmae_fast.ops.triton.dwconv_qkv import dwconv_qkv
from tests.ops.triton_gates import compile_launch, record

x, c, conv, proj = (torch.empty(shape, device="meta") for shape in ((1, 1, 32), (32,), (3, 3, 3, 32), (3, 32, 32)))
bias = torch.empty(3, 32, device="meta")
for launch in record(lambda: dwconv_qkv(x, c, c, conv, bias, proj, bias, 0, 1)):
    print(compile_launch("dwconv_qkv", "one row", "fp32", launch, 90))
"""


def compiled_by(*arguments: str) -> str:
    """What Python prints, in a process of its own: in this one kernels may be interpreted."""
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, *arguments]
    run = subprocess.run(command, env=env, cwd=TABLE.parents[2], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def code() -> Callable[[dict[str, str]], dict[str, Any]]:
    """The compiled launch of a row."""
    printed = compiled_by("-m", "tests.ops.triton_gates", "--gates")
    compiled = {tuple(str(row[key]) for key in KEY): row for row in map(json.loads, printed.splitlines())}
    assert compiled.keys() == {tuple(row[key] for key in KEY) for row in ROWS}  # no kernel without a row
    return lambda row: compiled[tuple(row[key] for key in KEY)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[key] for key in KEY))
def test_compiled_code_keeps_its_gates(code: Callable[[dict[str, str]], dict[str, Any]], row: dict[str, str]) -> None:
    found = code(row)
    assert found["registers"] <= int(row["registers"])
    assert found["shared"] <= SHARED
    assert found["unwaited"] == 0
    assert (found["matrix"] > 0) == (row["matrix"] == "1")
    assert (found["asynchronous"] > 0) == (row["asynchronous"] == "1")
    if row["dtype"] != "fp32":  # which is there to check results, not to be fast
        assert found["spills"] == 0


def test_one_row_in_all_compiles() -> None:
    """Arguments that are 1 are constants of the kernel, which have not all that a tensor has."""
    assert compiled_by("-c", ONE_ROW).count("sm_90") == 2
