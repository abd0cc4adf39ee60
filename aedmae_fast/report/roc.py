"""Pictures of an evaluation: ROC, detection curves, each test clip's scores over its labels. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from aedmae_fast.evaluation.auc import ScoredClip, micro_auc
from aedmae_fast.evaluation.rbdc_tbdc import Curves
from aedmae_fast.files import replacing_picture
from aedmae_fast.text import printable

__all__ = ["plot_clip", "plot_detection", "plot_roc"]


def plot_roc(methods: Mapping[str, Sequence[ScoredClip]], path: Path, title: str) -> None:
    """Write a PNG with one ROC per method, over the frames of all clips.

    Raises:
        OSError: the file cannot be written.
    """
    figure, axes = _figure(5.2, 5)
    for name, clips in methods.items():
        labels = np.concatenate([clip.labels for clip in clips])
        rate_false, rate_true, _ = roc_curve(labels, np.concatenate([clip.scores for clip in clips]))
        axes.plot(rate_false, rate_true, label=f"{_plain(name)}: {100 * micro_auc(clips):.2f} %")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.legend(loc="lower right", title="micro AUC", frameon=False)
    _save(figure, axes, path, title)


def plot_detection(methods: Mapping[str, Curves], path: Path, title: str) -> None:
    """Write a PNG with the detected fraction of regions and of tracks over false positives per frame.

    Raises:
        OSError: the file cannot be written.
    """
    figure, axes = _figure(6, 4.5)
    for i, (name, curves) in enumerate(methods.items()):
        for label, rate, value in (("RBDC", curves.regions, curves.rbdc), ("TBDC", curves.tracks, curves.tbdc)):
            style = {"color": f"C{i}", "linestyle": "-" if label == "RBDC" else "--", "marker": ".", "markersize": 3}
            axes.plot(curves.false_positives, rate, label=f"{_plain(name)}: {label} {100 * value:.2f} %", **style)
    axes.set(xlabel="false positives per frame", ylabel="detected fraction", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    _save(figure, axes, path, title)


def plot_clip(clip: ScoredClip, path: Path, preset: str) -> None:
    """Write a PNG of one clip's scores, the anomalous frames shaded.

    Raises:
        OSError: the file cannot be written.
    """
    figure, axes = _figure(10, 3)
    frames = np.arange(len(clip.scores))
    shade = {"color": "tab:red", "alpha": 0.15, "linewidth": 0, "step": "mid", "transform": axes.get_xaxis_transform()}
    axes.fill_between(frames, 0, 1, where=clip.labels > 0, **shade)
    axes.plot(frames, clip.scores, color="tab:red")
    axes.set(xlabel="frame", ylabel=f"score ({preset})")
    axes.margins(x=0)
    _save(figure, axes, path, clip.name)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _plain(text: str) -> str:
    return printable(text).replace("$", r"\$")


def _save(figure: Any, axes: Any, path: Path, title: str) -> None:
    axes.set_title(_plain(title), fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_picture(path) as part:
        figure.savefig(part, dpi=100)
