"""Pictures of an evaluation: ROC, detection curves, each test clip's scores over its labels. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_curve

from aedmae_fast.evaluation.auc import ScoredClip, micro_auc
from aedmae_fast.evaluation.rbdc_tbdc import Curves
from aedmae_fast.report.figure import new_figure, plain, save_figure

__all__ = ["plot_clip", "plot_detection", "plot_roc"]


def plot_roc(methods: Mapping[str, Sequence[ScoredClip]], path: Path, title: str) -> None:
    """Write a PNG with one ROC per method, over the frames of all clips.

    Raises:
        OSError: the file cannot be written.
    """
    figure = new_figure(5.2, 5)
    axes = figure.subplots()
    for name, clips in methods.items():
        labels = np.concatenate([clip.labels for clip in clips])
        rate_false, rate_true, _ = roc_curve(labels, np.concatenate([clip.scores for clip in clips]))
        axes.plot(rate_false, rate_true, label=f"{plain(name)}: {100 * micro_auc(clips):.2f} %")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.legend(loc="lower right", title="micro AUC", frameon=False)
    axes.set_title(plain(title), fontsize=10)
    save_figure(figure, path)


def plot_detection(methods: Mapping[str, Curves], path: Path, title: str) -> None:
    """Write a PNG with the detected fraction of regions and of tracks over false positives per frame.

    Raises:
        OSError: the file cannot be written.
    """
    figure = new_figure(6, 4.5)
    axes = figure.subplots()
    for i, (name, curves) in enumerate(methods.items()):
        for label, rate, value in (("RBDC", curves.regions, curves.rbdc), ("TBDC", curves.tracks, curves.tbdc)):
            style = {"color": f"C{i}", "linestyle": "-" if label == "RBDC" else "--", "marker": ".", "markersize": 3}
            axes.plot(curves.false_positives, rate, label=f"{plain(name)}: {label} {100 * value:.2f} %", **style)
    axes.set(xlabel="false positives per frame", ylabel="detected fraction", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    axes.set_title(plain(title), fontsize=10)
    save_figure(figure, path)


def plot_clip(clip: ScoredClip, path: Path, preset: str) -> None:
    """Write a PNG of one clip's scores, the anomalous frames shaded.

    Raises:
        OSError: the file cannot be written.
    """
    figure = new_figure(10, 3)
    axes = figure.subplots()
    frames = np.arange(len(clip.scores))
    shade = {"color": "tab:red", "alpha": 0.15, "linewidth": 0, "step": "mid", "transform": axes.get_xaxis_transform()}
    axes.fill_between(frames, 0, 1, where=clip.labels > 0, **shade)
    axes.plot(frames, clip.scores, color="tab:red")
    axes.set(xlabel="frame", ylabel=f"score ({preset})")
    axes.margins(x=0)
    axes.set_title(plain(clip.name), fontsize=10)
    save_figure(figure, path)
