"""The CSV of one clip, a line a frame: written, and read back."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.engine.postprocess import Series
from aedmae_fast.engine.results import ClipScores

COLUMNS = ("frame", "time_s", "score", "raw", "teacher_error", "discrepancy", "class_prob", "x", "y")
VALUE = "%.9g"  # nine digits tell any two float32 apart
ROWS = 4096  # formatted at a time: a day of video has two million


def write_csv(file: IO[str], scores: ClipScores) -> None:
    """Write the scores of a clip.

    ``class_prob`` is empty without a class head, ``x`` and ``y`` (pixels of the video as displayed) where the preset
    pools by the mean. With a stride a last column ``interpolated`` is 1 for the frames between the scored ones.
    """
    flagged = bool(scores.interpolated.any())
    print(*COLUMNS, *(["interpolated"] if flagged else []), sep=",", file=file)
    values = (scores.score, scores.raw, scores.teacher_error, scores.discrepancy, scores.class_prob)
    columns: list[tuple[NDArray[Any], str]] = [(np.arange(scores.frames), "%d"), (scores.time_s, "%.6f")]
    columns += [(column, VALUE) for column in values] + [(column, "%.0f") for column in (scores.x, scores.y)]
    if flagged:
        columns.append((scores.interpolated, "%d"))
    for start in range(0, scores.frames, ROWS):
        cells, formats = zip(*(_cells(column[start : start + ROWS], how) for column, how in columns), strict=True)
        rows = list(zip(*cells, strict=True))
        file.write((",".join(formats) + "\n") * len(rows) % tuple(chain.from_iterable(rows)))


def _cells(column: NDArray[Any], how: str) -> tuple[list[Any], str]:
    """A column's values and their format; where some are NaN, which are left empty, the cells and ``%s``."""
    if np.isnan(column).any():
        return ["" if value != value else how % value for value in column.tolist()], "%s"
    return column.tolist(), how


def read_csv(path: Path) -> Series:
    """The ``score`` column of :func:`read_columns`."""
    return read_columns(path, ("score",))[0]


def read_columns(path: Path, names: Sequence[str]) -> list[Series]:
    """Columns of a CSV as :data:`COLUMNS` names them, float64 [T]; an empty cell is NaN.

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
