"""A picture of one clip's scores over time. Needs the ``report`` extra (matplotlib)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aedmae_fast.engine.results import ClipScores
from aedmae_fast.files import replacing
from aedmae_fast.report.console import printable


def require_matplotlib() -> None:
    """Raises:
    ImportError: matplotlib is not installed; says how to install it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'aedmae-fast[report]'") from error


def plot_scores(scores: ClipScores, path: Path, title: str, preset: str) -> None:
    """Write a PNG: the score over time, the raw score behind it on its own scale, the peak marked.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    behind = axes.twinx()
    behind.plot(scores.time_s, scores.raw, color="0.75", linewidth=0.8)
    behind.set_ylabel("raw", color="0.5")
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(scores.time_s, scores.score, color="tab:red", linewidth=1.6)
    if scores.peak is not None:
        frame, value = scores.peak
        axes.plot(scores.time_s[frame], value, "v", color="tab:red")
        axes.annotate(f"frame {frame}", (scores.time_s[frame], value), textcoords="offset points", xytext=(6, 0))
    axes.set_xlabel("time [s]")
    axes.set_ylabel(f"score ({preset})", color="tab:red")
    axes.set_title(printable(title).replace("$", r"\$"), fontsize=10)
    if len(np.unique(scores.time_s)) > 1:
        axes.set_xlim(scores.time_s[0], scores.time_s[-1])
    with replacing(path) as part:
        figure.savefig(part, dpi=100)
