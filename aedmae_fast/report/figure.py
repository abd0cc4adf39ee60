"""Figures and how they become PNG files. Needs matplotlib, the ``report`` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aedmae_fast.files import replacing_picture
from aedmae_fast.text import printable

__all__ = ["new_figure", "plain", "save_figure"]


def new_figure(width: float, height: float) -> Any:
    """A matplotlib Figure of so many inches."""
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    return Figure(figsize=(width, height), layout="constrained")


def plain(text: str) -> str:
    """A text as it stands: a file's name on one line, and no dollar taken for mathematics."""
    return printable(text).replace("$", r"\$")


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG at 100 pixels an inch; its folder is made.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_picture(path) as part:
        figure.savefig(part, dpi=100)
