"""Which of several training runs is better, on held-out clips: the runs side by side, each on every set.

    python benchmarks/make_holdout.py --data DIR --layout videos --out HOLDOUT0 --seed 0    # and 1, 2, ...
    python -m aedmae_fast.train --data HOLDOUT0 --layout clips --out RUN0 --seed 0 ...      # two seeds a setting
    python benchmarks/compare.py --data HOLDOUT0 HOLDOUT1 HOLDOUT2 --runs RUN0 RUN1 ...

Sets made with other seeds hold out the same clips, so that one run can be evaluated on all of them. Prints of each
figure the mean over the sets (lowest to highest), %, the untrained frame difference below, and writes it all as JSON. A
setting is better if it wins by more than two seeds of one setting lie apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stamp import result_path, stamp, write_report
from training import evaluated, header

from aedmae_fast.engine.choose import choose_device
from aedmae_fast.training.options import CHECKPOINT

FIGURES = ("micro_auc", "macro_auc", "pixel_auc", "rbdc", "tbdc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="sets made by make_holdout.py")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="written by aedmae_fast.train")
    parser.add_argument("--preset", default="anomaly-map", help="(default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="(default: %(default)s)")
    parser.add_argument("--note", default="", metavar="TEXT", help="what is compared, for the JSON")
    parser.add_argument("--json", type=Path, help="(default: benchmarks/results/compare-DEVICE-COMMIT.json)")
    options = parser.parse_args()
    device = choose_device("auto").value
    path = result_path("compare", device, options.json)
    rows = []
    for run in options.runs:
        checkpoint = run / CHECKPOINT
        by_set = [evaluated(data, "clips", checkpoint, options.preset, options.precision) for data in options.data]
        rows.append({"run": run.name, "header": header(checkpoint), **summary(by_set)})
        print(line(run.name, rows[-1]), flush=True)
    difference = summary([figures["baseline"] for figures in by_set])
    print(line("frame difference", difference))
    report = {
        **stamp(device),
        "what": options.note,
        "sets": [data.name for data in options.data],
        "preset": options.preset,
        "precision": options.precision,
        "rows": rows,
        "frame_difference": difference,
    }
    write_report(path, report)


def summary(by_set: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure its values on all sets and their mean, %."""
    values = {name: [round(100 * figures[name], 2) for figures in by_set] for name in FIGURES}
    return {"by_set": values, "mean": {name: round(statistics.mean(each), 2) for name, each in values.items()}}


def line(name: str, row: dict[str, Any]) -> str:
    cells = (
        f"{figure.removesuffix('_auc')} {row['mean'][figure]:5.1f} ({min(values):.1f} to {max(values):.1f})"
        for figure, values in row["by_set"].items()
    )
    return f"{name:<18} {'  '.join(cells)}"


if __name__ == "__main__":
    main()
