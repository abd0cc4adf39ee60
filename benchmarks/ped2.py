"""UCSD Ped2: two seeds of one fixed schedule, the last epoch of each.

    python benchmarks/ped2.py --data PED2 --out RUNS --at-once 2    # two cores with AMX: over an hour for both seeds
    python benchmarks/ped2.py --data PED2 --out RUNS --bundled      # its seed is there already
    python benchmarks/ped2.py --data PED2 --out RUNS --seeds 0 1 2 --at-once 3 --train "--recipe paper \
        --teacher-epochs 100 --mirror 0 --height 80 --width 160 --patch 4"  # a GPU: all as the paper prints it

PED2 as UCSD gives it; the figures here are of a copy in H.264 (--layout clips).

Trains what is not trained yet, evaluates every seed with every preset in fp32, in bf16 and in the 8 bits of the device
(int8 on a CPU, fp8 on a GPU that has it), prints the table and writes it as JSON. The network and the preset
`anomaly-map` were chosen on held-out training clips (make_holdout.py), and what was seen of the test clips by then is
told in aedmae_fast/weights/README.md; flags after --train come last and win.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stamp import result_path, stamp
from training import evaluated, header, is_trained, train_command

from aedmae_fast.engine.choose import choose_device
from aedmae_fast.engine.cores import usable_cores
from aedmae_fast.engine.precision import eight_bits_on
from aedmae_fast.model.checkpoint import BUNDLED as WEIGHTS
from aedmae_fast.training.options import CHECKPOINT

FLAGS = "--config ped2 --height 160 --width 240 --patch 8 --recipe short --precision bf16 --workers 1"
FLAGS += " --teacher-epochs 22 --light 0 --mirror 0.5"  # the light does not change there, and people go both ways
BUNDLED = WEIGHTS / "ped2.safetensors"
PRESETS = ("anomaly-map", "paper", "release-avenue")
FIGURES = ("micro_auc", "macro_auc", "macro_auc_two_class", "macro_auc_plain", "pixel_auc", "rbdc", "tbdc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="UCSD Ped2")
    parser.add_argument("--layout", default="ped", choices=["clips", "ped"])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--bundled", action="store_true", help="evaluate the bundled weights as the run of their seed")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="seeds trained at the same time")
    parser.add_argument("--train", default="", metavar="FLAGS", help="for aedmae_fast.train, after those fixed here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.bundled and options.train:
        parser.error("--bundled: those weights were trained without --train's flags; expected one of the two")
    device = choose_device("auto").value
    path = result_path("ped2", device, options.json)
    checkpoints = {seed: options.out / f"seed{seed}" / CHECKPOINT for seed in options.seeds}
    bundled = header(BUNDLED) if options.bundled else None
    commands = {
        seed: training_of(seed, options) for seed in options.seeds if bundled is None or seed != int(bundled["seed"])
    }
    to_train = [command for command in commands.values() if not is_trained(command)]
    for start in range(0, len(to_train), options.at_once):
        running = [start_training(command, options) for command in to_train[start : start + options.at_once]]
        codes = [process.wait() for process in running]  # of all, or the others would go on by themselves
        if any(codes):
            sys.exit("training failed")
    if bundled is not None:
        checkpoints[int(bundled["seed"])] = BUNDLED
    eight_bits = eight_bits_on(torch.device(device))
    precisions = ("fp32", "bf16", *([eight_bits] if eight_bits else []))
    report: dict[str, Any] = {
        **stamp(device),
        "train": f"{FLAGS} {options.train}".strip(),
        "seeds": sorted(checkpoints),
        "bundled": bundled,  # the header of the weights that stand for their seed
    }
    rows: list[dict[str, Any]] = []
    left = list(product(sorted(checkpoints), PRESETS, precisions))
    while left:
        seed, preset, precision = left.pop(0)
        rows.append(evaluate(seed, checkpoints[seed], preset, precision, options))
        means = [summary(rows, *kind) for kind in dict.fromkeys((row["preset"], row["precision"]) for row in rows)]
        report |= {"not_evaluated": len(left), "summary": means, "rows": rows}
        path.write_text(json.dumps(report, indent=1) + "\n")  # is kept, whatever becomes of the rest
    print_table(means, rows[0]["baseline"])
    print(f"wrote {path}")


def training_of(seed: int, options: argparse.Namespace) -> list[str]:
    """What trains a seed, or goes on with it."""
    flags = ["--seed", str(seed), *shlex.split(FLAGS), *shlex.split(options.train)]
    return train_command(options.data, options.layout, options.out / f"seed{seed}", flags)


def start_training(command: list[str], options: argparse.Namespace) -> subprocess.Popen[bytes]:
    threads = max(1, usable_cores()[0] // options.at_once)
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)})


def evaluate(seed: int, checkpoint: Path, preset: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one seed, and those of the frame difference."""
    report = evaluated(options.data, options.layout, checkpoint, preset, precision)
    return {
        "seed": seed,
        "preset": preset,
        "precision": precision,
        **percent(report),
        "baseline": percent(report["baseline"]),
    }


def percent(report: dict[str, Any]) -> dict[str, float | None]:
    return {name: None if (value := report.get(name)) is None else round(100 * value, 2) for name in FIGURES}


def summary(rows: list[dict[str, Any]], preset: str, precision: str) -> dict[str, Any]:
    """Mean, lowest and highest of the seeds."""
    chosen = [row for row in rows if (row["preset"], row["precision"]) == (preset, precision)]
    figures: dict[str, Any] = {}
    for name in FIGURES:
        values = [row[name] for row in chosen if row[name] is not None]
        if values:
            figures[name] = {"mean": round(statistics.mean(values), 2), "low": min(values), "high": max(values)}
    return {"preset": preset, "precision": precision, "seeds": len(chosen), **figures}


def print_table(means: list[dict[str, Any]], baseline: dict[str, float | None]) -> None:
    print(f"{'mean (lowest-highest)':24}" + "".join(f"{name:>22}" for name in FIGURES))
    for row in means:
        cells = [
            f"{row[name]['mean']:.1f} ({row[name]['low']:.1f}-{row[name]['high']:.1f})" if name in row else "-"
            for name in FIGURES
        ]
        print(f"{row['preset'] + ' ' + row['precision']:24}" + "".join(f"{cell:>22}" for cell in cells))
    cells = ["-" if baseline[name] is None else f"{baseline[name]:.1f}" for name in FIGURES]
    print(f"{'frame difference':24}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
