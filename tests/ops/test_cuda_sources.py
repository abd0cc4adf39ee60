"""Every CUDA source compiles for the GPUs it is meant for, without a warning and without spilled registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).resolve().parents[2] / "csrc/cuda").glob("*.cu"))


@pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is absent")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_compiles_without_warnings_and_spills(source: Path, arch: str, tmp_path: Path) -> None:
    flags = ["-std=c++17", "-O3", f"-arch={arch}", "-cubin", "-Werror", "all-warnings", "-Xptxas", "-v"]
    command = ["nvcc", *flags, str(source), "-o", str(tmp_path / "out.cubin")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert set(re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", run.stderr)) == {"0"}, run.stderr
