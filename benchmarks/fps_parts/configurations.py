"""The networks of all data sets: ours against the best of what else runs the same network in the same precision."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import torch

from aedmae_fast import Scorer, load_model
from aedmae_fast.model.network import AedMae

from . import end_to_end, waterfall
from .contender import OURS, Inputs

NETWORKS = ("untrained-avenue", "untrained-shanghaitech", "untrained-ped2", "ped2")  # ubnormal's is shanghaitech's
OTHERS = ("plain", "torch.compile", "ONNX Runtime", "OpenVINO")


def measure(network: str, wanted: waterfall.Wanted, clip: Path, windows: int, rounds: int) -> list[dict[str, Any]]:
    """:func:`rows_of` a network in place of the one that is wanted, on so many windows of a clip, on a CPU."""
    torch.compiler.reset()  # it compiles one code for few networks, and would take the eager path for this one
    model = load_model(network)
    scorer = Scorer(model, preset=wanted.preset, device="cpu", threads=wanted.threads)
    inputs = Inputs.of(model.config, end_to_end.frames_of(scorer, clip), windows)
    print(f"  {network}", flush=True)
    rows, _ = waterfall.measure(dataclasses.replace(wanted, model=model, baseline=None), inputs, rounds)
    return rows_of(network, model, rows)


def rows_of(network: str, model: AedMae, waterfall_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a waterfall says of ours and of the others, a row for each precision.

    ``fps`` and those in ``others``, each the best of its kind, are medians over the rounds; ``over_best_other`` is the
    median of the rounds' ratios to the fastest of the others. They are those of the same precision, but where nobody
    else has it (int8) of any.
    """
    c, found = model.config, []
    for precision in dict.fromkeys(row["precision"] for row in waterfall_rows):
        rows = [row for row in waterfall_rows if row["precision"] == precision]
        ours = max(_of(rows, OURS), key=_fps)
        others = rows if any(row["step"] in OTHERS for row in rows) else waterfall_rows
        best = {step: max(_of(others, step), key=_fps) for step in OTHERS if _of(others, step)}
        rival = max(best.values(), key=_fps)
        ratios = [mine / theirs for mine, theirs in zip(ours["rounds"], rival["rounds"], strict=True)]
        found.append(
            {
                "network": network,
                "input": f"{c.height}x{c.width}, patch {c.patch}, {c.kept} of {c.tokens} tokens",
                "gflop_per_frame": round(model.flops_per_frame() / 1e9, 3),
                "precision": precision,
                "fps": ours["fps"],
                "matrix_share": ours["matrix_share"],
                "error": ours["error"],
                "others": {step: row["fps"] for step, row in best.items()},
                "best_other": rival["step"],
                "over_best_other": round(statistics.median(ratios), 3),
            }
        )
    return found


def _of(rows: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["step"] == step]


def _fps(row: dict[str, Any]) -> float:
    return float(row["fps"])
