"""Which committed tables are of the bundled weights for Ped2: the benchmark puts others beside them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open

from aedmae_fast.model.checkpoint import BUNDLED

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def tables_of_the_bundled_weights() -> list[Path]:
    """Those that were made at the commit that the weights were trained at; one at least, or this fails."""
    with safe_open(str(BUNDLED / "ped2.safetensors"), framework="pt") as file:
        commit = file.metadata()["commit"]
    found = [path for path in sorted(RESULTS.glob("ped2-*.json")) if json.loads(path.read_text())["commit"] == commit]
    assert found, f"no ped2-*.json in {RESULTS} is of commit {commit}, as the bundled weights are"
    return found
