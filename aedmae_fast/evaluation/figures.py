"""All figures of one method on one data set, and their words: by name for JSON, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aedmae_fast.evaluation.auc import FrameAuc, PixelAuc, ScoredClip, clip_auc_plain, clip_auc_release
from aedmae_fast.evaluation.ground_truth import Mask
from aedmae_fast.evaluation.layouts import LabelledClip
from aedmae_fast.evaluation.map_store import MapStore
from aedmae_fast.evaluation.rbdc_tbdc import Curves, Truth, sweep, truth_of
from aedmae_fast.text import printable, table

__all__ = ["Figures", "Localisation", "clip_rows", "clip_table", "figure_table", "localise"]


@dataclass(frozen=True)
class Localisation:
    """Figures of anomaly maps against pixel masks."""

    pixel_auc: float
    curves: Curves


@dataclass(frozen=True)
class Figures:
    """What was measured of one method."""

    frame: FrameAuc
    where: Localisation | None  # None without maps or masks

    def by_name(self) -> dict[str, float | None]:
        """Every figure, for JSON; None for what was not measured."""
        return {
            "micro_auc": self.frame.micro_auc,
            "macro_auc": self.frame.macro_auc,
            "macro_auc_two_class": self.frame.macro_auc_two_class,
            "macro_auc_plain": self.frame.macro_auc_plain,
            "pixel_auc": self.where.pixel_auc if self.where else None,
            "rbdc": self.where.curves.rbdc if self.where else None,
            "tbdc": self.where.curves.tbdc if self.where else None,
        }


WORDS = {
    "micro_auc": "micro AUC",
    "macro_auc": "macro AUC, release's end points, all clips",
    "macro_auc_two_class": "macro AUC, release's end points, two-class clips",
    "macro_auc_plain": "macro AUC, plain, two-class clips",
    "pixel_auc": "pixel AUC",
    "rbdc": "RBDC",
    "tbdc": "TBDC",
}


def localise(clips: Sequence[LabelledClip], stores: Mapping[str, MapStore]) -> dict[str, Localisation]:
    """Pixel AUC, RBDC and TBDC of several methods' maps, reading masks and objects once. Empty if no mask shows any.

    Args:
        clips: those without masks do not enter.
        stores: by method; a store's clip i is ``clips[i]``.

    Raises:
        ValueError: a clip has another number of masks than of maps.
    """
    pixels = {method: PixelAuc() for method in stores}
    truths: dict[int, Truth] = {}

    def counted(index: int, clip: LabelledClip) -> Iterator[Mask]:
        maps = {method: store.maps(index) for method, store in stores.items()}
        for frame, mask in enumerate(clip.masks()):
            for method, values in maps.items():
                if frame == len(values):
                    raise ValueError(f"clip {clip.name}: {len(values)} frames scored, but there are more masks")
                pixels[method].add(values[frame], mask)
            yield mask

    for index, clip in enumerate(clips):
        if clip.has_masks:
            objects = clip.read_objects() if clip.read_objects else None
            truths[index] = truth_of(clip.name, counted(index, clip), objects)
    if not any(pixel.both_labels for pixel in pixels.values()):
        return {}
    return {method: Localisation(pixels[method].area(), sweep(store, truths)) for method, store in stores.items()}


def clip_rows(clips: Sequence[ScoredClip], baseline: Sequence[ScoredClip]) -> list[dict[str, Any]]:
    """A clip's frames and areas, with the baseline's, by name."""
    return [
        {
            "name": clip.name,
            "frames": len(clip.labels),
            "anomalous": int(clip.labels.sum()),
            "auc_release": clip_auc_release(clip),
            "auc_plain": clip_auc_plain(clip),
            "baseline_auc_release": clip_auc_release(base),
            "baseline_auc_plain": clip_auc_plain(base),
        }
        for clip, base in zip(clips, baseline, strict=True)
    ]


def clip_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line per clip; ``-`` where all frames have one label."""
    head = ("clip", "frames", "anomalous", "AUC, release", "AUC, plain", "baseline, release", "baseline, plain")
    return table([head, *([_cell(value) for value in row.values()] for row in rows)], "<>>>>>>")


def figure_table(model: Figures, baseline: Figures) -> str:
    """A line per figure in percent: the model's, and the untrained baseline's beside it."""
    ours, theirs = model.by_name(), baseline.by_name()
    rows = [(WORDS[name], _percent(ours[name]), _percent(theirs[name])) for name in WORDS]
    return table([("%", "model", "frame difference"), *rows], "<>>")


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else printable(str(value))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
