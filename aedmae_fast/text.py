"""What several commands say alike: names that any terminal can show, tables, and how long something takes."""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["duration", "printable", "table"]


def printable(name: str) -> str:
    """A file name on one line of any terminal: control characters and undecodable bytes as escapes."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Cells in columns, a rule below the first row.

    Args:
        sides: for each column ``<``, its cells stand to the left, or ``>``, to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in (rows[0], ["-" * width for width in widths], *rows[1:]):
        cells = [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
