"""Launch parameters of the Triton ops, tried on a GPU: is anything faster than what is shipped?

    python benchmarks/tune.py                                  # every op, bf16 and, where the GPU has it, fp8
    python benchmarks/tune.py --ops attention mlp --minutes 3

Each candidate is checked against the specification in float64 first; then it is timed at the engine's micro-batch by
the device's own events, in turns with the shipped parameters, on inputs that take turns too and are larger together
than the second-level cache. What is faster has to give the same bits run after run. Nothing is changed by it: it goes
into the op's LAUNCH by hand, with this script's result in benchmarks/results/, and the code is held to
tests/ops/triton_gates.csv as before.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from device_clock import why_lost
from stamp import result_path, stamp, write_report
from tune_parts.cases import FP8, SPACES, Parameters, cases
from tune_parts.sweep import FRAMES, Row, on_device, sweep

from aedmae_fast.ops.triton import why_no_fp8, why_no_triton

KEPT_EVERY = 20  # attempts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--minutes", type=float, default=60, help="stop then; what was not tried is counted")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/tune-<device>-<commit>.json")
    options = parser.parse_args()
    if reason := why_no_triton():
        sys.exit(f"nothing to tune: {reason}")
    dtypes = (torch.bfloat16, *(() if why_no_fp8() else (FP8,)))
    wanted = [case for case in cases("cuda", dtypes) if case.op in options.ops]
    path = result_path("tune", "cuda", options.json)
    mark = stamp("cuda")  # now: a device that is lost says nothing more
    tried: list[Row] = []

    def keep(row: Row) -> None:
        """What was tried is there, whatever becomes of the rest."""
        print(line(row), flush=True)
        tried.append(row)
        if len(tried) % KEPT_EVERY == 0:
            path.write_text(json.dumps(report(tried, -1, mark), indent=1) + "\n")

    rows, left = sweep(wanted, on_device, options.minutes, keep)
    print("\nthe best of each, * what is shipped")
    for row in best(rows):
        print(line(row))
    lost = why_lost()
    if left:
        print(f"{left} candidates were not tried" + ("" if lost else f" within {options.minutes:g} minutes"))
    write_report(path, report(rows, left, mark))
    if lost:
        sys.exit(f"the last one that was tried lost the device: {lost}; leave out its operation: --ops")


def line(row: Row) -> str:
    """``*`` marks what is shipped."""
    about = f"{'*' if row.shipped else ' '} {row.op:<16} {row.dtype:<14} {row.part:<48} {short(row.parameters):<34}"
    return about + (row.why or f"{row.us:9.1f} us  {row.over_shipped:6.3f} of the shipped  error {row.error:.1e}")


def short(parameters: Parameters) -> str:
    """``M64 N128 K32 w8 s2``."""
    return " ".join(f"{name.removeprefix('BLOCK_').removeprefix('num_')[:1]}{v}" for name, v in parameters.items())


def best(rows: Sequence[Row]) -> list[Row]:
    """Of every case, by the ratio to the shipped parameters that took turns with it."""
    timed: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.over_shipped is not None:
            timed.setdefault((row.op, row.part, row.dtype), []).append(row)
    return [min(of_case, key=lambda row: row.over_shipped or 0.0) for of_case in timed.values()]


def report(rows: Sequence[Row], left: int, mark: dict[str, Any]) -> dict[str, Any]:
    """Ready for JSON; the summary comes last. ``left`` is -1 as long as it goes on."""
    return {
        **mark,
        "frames": FRAMES,
        "rows": [dataclasses.asdict(row) for row in rows],
        "summary": {
            "tried": len(rows),
            "not_tried": left,
            "refused": sum(bool(row.why) for row in rows),
            "best": [dataclasses.asdict(row) for row in best(rows)],
        },
    }


if __name__ == "__main__":
    main()
