"""Which part of the method is worth what: components, share of synthetic frames, terms of the score.

    python benchmarks/ablation.py --data DIR --layout clips --out ABLATION [--train "--config ped2 --patch 8 ..."]

Trains one network per row, each differing from the first in one thing, and scores the test clips with every
combination of terms, so that each row has its full set of columns. All rows have the same schedule, seed and last
epoch; what follows --train goes to ``python -m aedmae_fast.train``. A row that is finished in --out is not trained
again. The frame difference, which needs no training, is the last row.

Beside it stands what the paper reports for the same change, on CUHK Avenue, as far as we know the figure.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stamp import result_path, stamp, write_report
from training import train_command

from aedmae_fast import Scorer, load_model
from aedmae_fast.config import PRESETS, ScoringPreset
from aedmae_fast.evaluation.auc import FrameAuc, ScoredClip, frame_auc
from aedmae_fast.evaluation.baseline import frame_difference
from aedmae_fast.evaluation.layouts import LAYOUTS, LabelledClip, read_dataset
from aedmae_fast.model.network import AedMae
from aedmae_fast.training.options import CHECKPOINT

NETWORKS = {  # row -> what it changes
    "all of it": "",
    "no motion weights": "--no-motion-weights",
    "no self-distillation": "--student-epochs 0",
    "no class head": "--class-weight 0",
    "0 % synthetic": "--anomaly-share 0 --class-weight 0",
    "25 % synthetic": "--anomaly-share 0.25",
    "50 % synthetic": "--anomaly-share 0.5",
    "75 % synthetic": "--anomaly-share 0.75",
    "100 % synthetic": "--anomaly-share 1",
}
PAPER_AVENUE_MICRO = {"0 % synthetic": 88.5, "25 % synthetic": 91.3}  # arXiv 2306.12041
EQ6 = PRESETS["paper"]
TERMS = {  # column -> preset
    "teacher": replace(EQ6, name="teacher", gap_weight=0, class_weight=0),
    "gap": replace(EQ6, name="gap", colour_weight=0, abnormal_weight=0, class_weight=0),
    "teacher + gap": replace(EQ6, name="teacher + gap", class_weight=0),
    "paper (Eq. 6)": EQ6,
    "anomaly-map": PRESETS["anomaly-map"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", default="clips", choices=sorted(set(LAYOUTS) - {"videos"}))
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--train", default="", metavar="FLAGS", help="schedule and network of all rows")
    parser.add_argument("--rows", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="ROW")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = result_path(f"ablation-{options.data.resolve().name}", "cpu", options.json)
    clips = read_dataset(options.data, options.layout).test
    rows: dict[str, dict[str, list[float] | None]] = {}
    print(f"{'micro / macro AUC, %':24}" + "".join(f"{name:>18}" for name in TERMS) + f"{'paper, Avenue':>18}")
    for name in options.rows:
        model = load_model(train(name, options))
        rows[name] = {term: auc(model, p, clips) if trained(name, model, p) else None for term, p in TERMS.items()}
        print(line(name, list(rows[name].values())), flush=True)
    baseline = percent(frame_auc([ScoredClip(c.name, c.labels, frame_difference(c.path)) for c in clips]))
    print(line("frame difference", [baseline]))
    report: dict[str, Any] = {
        **stamp("cpu"),
        "data": options.data.resolve().name,
        "train": options.train,
        "changes": NETWORKS,
        "rows": rows,
        "frame_difference": baseline,
        "paper_avenue_micro": PAPER_AVENUE_MICRO,
    }
    write_report(path, report)


def train(name: str, options: argparse.Namespace) -> Path:
    """The checkpoint of a row; trained unless it is there."""
    run = options.out / name.replace(" ", "-").replace("%", "percent")
    done = run / "done"  # a checkpoint is written after every epoch
    if not done.exists():
        flags = [*shlex.split(options.train), *shlex.split(NETWORKS[name])]
        subprocess.run(train_command(options.data, options.layout, run, flags), check=True)
        done.touch()
    return run / CHECKPOINT


def trained(name: str, model: AedMae, preset: ScoringPreset) -> bool:
    """Whether a row's network has been trained in all that the preset scores with."""
    student = "--student-epochs 0" not in NETWORKS[name]
    return (student or not preset.gap_weight) and (model.config.class_head or not preset.class_weight)


def auc(model: AedMae, preset: ScoringPreset, clips: Sequence[LabelledClip]) -> list[float]:
    scores = Scorer(model, preset=preset, device="cpu").score_many([clip.path for clip in clips])
    return percent(frame_auc([ScoredClip(c.name, c.labels, s.score) for c, s in zip(clips, scores, strict=True)]))


def percent(figures: FrameAuc) -> list[float]:
    """Micro and macro AUC, the latter with the release's end points."""
    return [round(100 * figures.micro_auc, 2), round(100 * figures.macro_auc, 2)]


def line(name: str, figures: Sequence[list[float] | None]) -> str:
    cells = ["-" if f is None else f"{f[0]:.1f} / {f[1]:.1f}" for f in figures]
    cells += [""] * (len(TERMS) - len(cells))
    paper = f"{PAPER_AVENUE_MICRO[name]} / -" if name in PAPER_AVENUE_MICRO else "-"
    return f"{name:24}" + "".join(f"{cell:>18}" for cell in [*cells, paper])


if __name__ == "__main__":
    main()
