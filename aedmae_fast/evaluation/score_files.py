"""Finished scores, as ``python -m aedmae_fast.score`` writes them, read back for a data set's clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aedmae_fast.engine.job import MANIFEST
from aedmae_fast.engine.map_file import Maps

__all__ = ["REPORT", "find_csv", "read_maps", "read_settings"]

REPORT = "evaluation.json"  # of ``evaluate``, beside the scores


def find_csv(folder: Path, clip: Path, root: Path) -> Path:
    """The CSV of one clip: ``test/01.mp4`` of a data set has ``test/01.mp4.csv``, ``01.mp4.csv`` or ``01.csv``.

    The longest name wins, so that scores of training clips of the same name are not taken for the test's.

    Raises:
        FileNotFoundError: none of them is in ``folder``.
    """
    parts = clip.relative_to(root).parts if clip.is_relative_to(root) else (clip.name,)
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    names = [f"{tail}.csv" for tail in tails] + [f"{clip.stem}.csv"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    looked_for = ", ".join(dict.fromkeys(names))
    raise FileNotFoundError(f"no scores of {clip.name} in {folder}, under none of these names: {looked_for}")


def read_maps(folder: Path, scores: Sequence[Path]) -> list[Maps | None]:
    """The maps that the manifest of ``folder`` has of each CSV in it, read from disk where they are looked at.

    None where it has none, or they cannot be read.
    """
    try:
        entries = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        entries = {}
    return [_maps_of(folder, entries, file) for file in scores]


def _maps_of(folder: Path, entries: Any, scores: Path) -> Maps | None:
    try:
        name = entries[str(scores.relative_to(folder).with_suffix(""))]["maps"]
        return np.load(folder / name, mmap_mode="r") if name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_settings(folder: Path) -> dict[str, Any]:
    """What the scores in a folder were computed with: the settings in the manifest that ``score`` leaves there, or the
    report that ``evaluate --out`` does; empty where neither can be read.
    """
    for name, key in ((MANIFEST, "settings"), (REPORT, None)):
        try:
            content = json.loads((folder / name).read_text())
            settings = content[key] if key else content
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(settings, dict):
            return settings
    return {}
