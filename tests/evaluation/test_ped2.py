"""The bundled weights have the accuracy that the committed table says. Needs UCSD Ped2, which is not ours to ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aedmae_fast import evaluate
from aedmae_fast.engine.choose import choose_precision
from tests.ped2_tables import tables_of_the_bundled_weights

SEED = 0  # the bundled one
POINTS = 0.1


def test_the_bundled_weights_reproduce_the_table(shared: Path, tmp_path: Path) -> None:
    """In the precision that scoring takes here; a second one would be another two minutes."""
    precision = choose_precision("auto", "cpu").value
    rows = [
        row
        for table in tables_of_the_bundled_weights()
        for row in json.loads(table.read_text())["rows"]
        if (row["seed"], row["preset"], row["precision"]) == (SEED, "anomaly-map", precision)
    ]
    assert rows
    arguments = ["--data", shared / "data" / "ped2", "--layout", "clips", "--checkpoint", "ped2"]
    arguments += ["--device", "cpu", "--precision", precision, "--json", tmp_path / "report.json", "--quiet"]
    assert evaluate.main([*map(str, arguments)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    for row in rows:
        for name in ("micro_auc", "macro_auc", "pixel_auc"):
            assert 100 * report[name] == pytest.approx(row[name], abs=POINTS)
        for name in ("rbdc", "tbdc"):  # of connected regions, which merge or do not
            assert 100 * report[name] == pytest.approx(row[name], abs=1)
