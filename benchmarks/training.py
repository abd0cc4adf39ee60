"""The command that trains one run of a benchmark, or goes on with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def train_command(data: Path, layout: str, run: Path, flags: Sequence[str]) -> list[str]:
    """``python -m aedmae_fast.train`` of a run without pictures, resumed where it was begun; ``flags`` come last."""
    command = [sys.executable, "-m", "aedmae_fast.train", "--data", str(data), "--layout", layout, "--out", str(run)]
    resume = ["--resume"] if (run / "state.pt").exists() else []
    return [*command, "--pictures", "0", "--quiet", *resume, *flags]
