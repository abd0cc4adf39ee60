"""Finished scores, as ``python -m aedmae_fast.score`` writes them, read back for a data set's clips."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aedmae_fast.engine.job import MANIFEST
from aedmae_fast.engine.map_file import Maps
from aedmae_fast.engine.postprocess import Series

__all__ = ["REPORT", "find_csv", "read_columns", "read_csv", "read_maps", "read_settings"]

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


def read_csv(path: Path) -> Series:
    """The ``score`` column of :func:`read_columns`."""
    return read_columns(path, ("score",))[0]


def read_columns(path: Path, names: Sequence[str]) -> list[Series]:
    """Columns of a CSV as :data:`aedmae_fast.engine.table.COLUMNS` names them, float64 [T]; an empty cell is NaN.

    Raises:
        ValueError: no ``frame`` column or none of a name, frames out of order, or a cell that is no number.
    """
    columns = [array("d") for _ in names]  # a day of video has two million rows
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if missing := {"frame", *names} - set(header):
            raise ValueError(f"{path}: no column {sorted(missing)[0]!r}; found {header}")
        at, places = header.index("frame"), [header.index(name) for name in names]
        for count, row in enumerate(filter(None, rows)):
            cells = row + [""] * (len(header) - len(row))
            try:
                frame, values = int(cells[at]), [float(cells[place] or "nan") for place in places]
            except ValueError as error:
                raise ValueError(f"{path}, line {rows.line_num}: {error}") from error
            if frame != count:
                raise ValueError(f"{path}, line {rows.line_num}: expected frame {count}, found {frame}")
            for column, value in zip(columns, values, strict=True):
                column.append(value)
    return [np.array(column) for column in columns]


def read_maps(folder: Path, scores: Path) -> Maps | None:
    """The maps that the manifest of ``folder`` has of a CSV in it, read from disk where they are looked at.

    None where it has none, or they cannot be read.
    """
    try:
        entry = json.loads((folder / MANIFEST).read_text())["files"][str(scores.relative_to(folder).with_suffix(""))]
        return np.load(folder / entry["maps"], mmap_mode="r") if entry["maps"] else None
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
