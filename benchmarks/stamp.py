"""What every committed figure carries: device, versions, commit, and how it was measured."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

from aedmae_fast import env
from aedmae_fast.engine.cpu_name import cpu_generation, cpu_name

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"


def device_name(device: str) -> str:
    """The GPU's name, or the CPU's model and the number of cores in use."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores"


def commit() -> str:
    """Short hash of the checked-out commit, with ``-dirty`` where tracked code differs from it.

    Of a copy without its history it is what ``AEDMAE_COMMIT`` says.
    """
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        dirty = _git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results", ":!README.md")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("AEDMAE_COMMIT", "unknown")
    return head + ("-dirty" if dirty else "")


def stamp(device: str) -> dict[str, Any]:
    """Device, CPU, commit, date and the versions of everything that matters."""
    return {
        "device": device_name(device),
        "cpu": cpu_generation(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "environment": env.describe(),
    }


def result_path(kind: str, device: str, wanted: Path | None = None, suffix: str = ".json") -> Path:
    """``wanted``, or ``results/<kind>-<device>-<commit><suffix>``.

    Its folder is made: who asks before measuring does not find out afterwards that there is none.
    """
    path = wanted or RESULTS / f"{kind}-{_slug(device_name(device))}-{commit()}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_report(path: Path, report: dict[str, Any]) -> None:
    """As JSON; and says so."""
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {path}")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
