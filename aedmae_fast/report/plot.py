"""A picture of one clip's scores over time. Needs the ``report`` extra (matplotlib)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aedmae_fast.engine.table import read_columns
from aedmae_fast.report.figure import new_figure, plain, save_figure


def require_matplotlib() -> None:
    """Raises:
    ImportError: matplotlib is not installed; says how to install it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib") from error


def plot_scores(csv: Path, path: Path, title: str, preset: str) -> None:
    """Write a PNG of a CSV of scores: the score over time, the raw score behind it on its own scale, the peak marked.

    Raises:
        OSError: the CSV cannot be read, or the file cannot be written.
        ValueError: it is no CSV of scores.
    """
    time_s, score, raw = read_columns(csv, ("time_s", "score", "raw"))
    figure = new_figure(10, 3)
    axes = figure.subplots()
    behind = axes.twinx()
    behind.plot(time_s, raw, color="0.75", linewidth=0.8)
    behind.set_ylabel("raw", color="0.5")
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(time_s, score, color="tab:red", linewidth=1.6)
    if np.isfinite(score).any():
        frame = int(np.nanargmax(score))
        axes.plot(time_s[frame], score[frame], "v", color="tab:red")
        axes.annotate(f"frame {frame}", (time_s[frame], score[frame]), textcoords="offset points", xytext=(6, 0))
    axes.set_xlabel("time [s]")
    axes.set_ylabel(f"score ({preset})", color="tab:red")
    axes.set_title(plain(title), fontsize=10)
    if len(np.unique(time_s)) > 1:
        axes.set_xlim(time_s[0], time_s[-1])
    save_figure(figure, path)
