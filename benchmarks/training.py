"""One run of a benchmark: the command that trains it, what its checkpoint says of itself, and its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from aedmae_fast.engine.choose import choose_device, choose_precision
from aedmae_fast.text import printable
from aedmae_fast.training.options import CHECKPOINT, config_of, make_parser, settings_of
from aedmae_fast.training.state import STATE_FILE


def train_command(data: Path, layout: str, run: Path, flags: Sequence[str]) -> list[str]:
    """``python -m aedmae_fast.train`` of a run without pictures, resumed where it was begun; ``flags`` come last."""
    command = [sys.executable, "-m", "aedmae_fast.train", "--data", str(data), "--layout", layout, "--out", str(run)]
    resume = ["--resume"] if (run / STATE_FILE).exists() else []
    return [*command, "--pictures", "0", "--quiet", *resume, *flags]


def is_trained(command: Sequence[str]) -> bool:
    """Whether the checkpoint of a :func:`train_command` is there, of its last epoch, without the run's state.

    With it the command itself finds that nothing is left to do, and refuses what was trained otherwise. A checkpoint
    does not say which frames, region and foreign anomalies it was trained with.
    """
    options = make_parser().parse_args(command[3:])
    if not (checkpoint := options.out / CHECKPOINT).exists() or (options.out / STATE_FILE).exists():
        return False
    if options.frames is not None or options.region is not None or options.anomalies is not None:
        return False
    settings = settings_of(options)
    asked = {
        "data": printable(options.data.resolve().name),
        "layout": options.layout,
        "config": json.dumps(config_of(options).to_dict()),
        "precision": choose_precision(options.precision, choose_device(options.device).value).value,
        "schedule": json.dumps(settings.to_dict()),
        "epochs": str(settings.epochs),
    }
    return asked.items() <= header(checkpoint).items()


def header(checkpoint: Path) -> dict[str, str]:
    """What a checkpoint says of itself: its seed, how it was trained, and at which commit if it is bundled."""
    with safe_open(str(checkpoint), framework="pt") as file:
        return dict(file.metadata())


def evaluated(data: Path, layout: str, checkpoint: Path, preset: str, precision: str) -> dict[str, Any]:
    """What ``python -m aedmae_fast.evaluate`` measures, 0..1, and under ``baseline`` that of the frame difference."""
    command = [sys.executable, "-m", "aedmae_fast.evaluate", "--data", data, "--layout", layout]
    command += ["--checkpoint", checkpoint, "--preset", preset, "--precision", precision, "--json", "-", "--quiet"]
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE)  # complaints are to be seen
    report: dict[str, Any] = json.loads(done.stdout)
    return report
