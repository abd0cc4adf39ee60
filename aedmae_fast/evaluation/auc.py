"""Areas under the ROC: of frames, under both conventions in use, and of pixels.

**Micro** is one ROC over the frames of all clips, one behind the other. **Macro** is the mean of the clips' own areas,
and there papers differ:

* the *release's* convention, behind the published figures of AED-MAE: before a clip's ROC, a frame of label 0 and
  score 0 is put in front of the clip and one of label 1 and score 1 behind it. A clip in which all frames have one
  label thereby has an area, and it is 1 whatever its scores are (a little less where scores reach 0 or 1);
* the *plain* one: a clip of one label has no ROC and is left out.

The two extra frames also raise the area of every other clip, the shorter the more. So three means are told apart:
``macro_auc`` (release, all clips), ``macro_auc_two_class`` (release, clips with both labels), ``macro_auc_plain``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

__all__ = ["FrameAuc", "PixelAuc", "ScoredClip", "clip_auc_plain", "clip_auc_release", "frame_auc", "micro_auc"]


@dataclass(frozen=True)
class ScoredClip:
    """Labels and scores of one clip of T >= 1 frames.

    Raises:
        ValueError: no frames, unequal lengths, labels other than 0 and 1, scores that are NaN or infinite; the message
            names the clip.
    """

    name: str
    labels: NDArray[np.integer[Any]]  # [T] 0 = normal, 1 = anomalous
    scores: NDArray[np.floating[Any]]  # [T] higher is more anomalous

    def __post_init__(self) -> None:
        labels, scores = self.labels, self.scores
        if labels.ndim != 1 or scores.ndim != 1 or len(labels) != len(scores):
            raise ValueError(f"clip {self.name}: {labels.shape} labels but {scores.shape} scores; expected [T] of both")
        if not len(labels):
            raise ValueError(f"clip {self.name}: no frames")
        if not np.isin(labels, (0, 1)).all():
            raise ValueError(f"clip {self.name}: labels are 0 or 1, found {np.unique(labels)[:5].tolist()}")
        if not np.isfinite(scores).all():
            first = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(f"clip {self.name}: the score of frame {first} is {scores[first]}")

    @property
    def two_class(self) -> bool:
        """Whether both labels occur."""
        return bool(self.labels.min() != self.labels.max())


@dataclass(frozen=True)
class FrameAuc:
    """Frame-level areas of a set of clips. None where there is nothing to take the mean of."""

    micro_auc: float  # the same under both conventions
    macro_auc: float  # release's end points, mean over all clips: comparable with the paper's figures
    macro_auc_two_class: float | None  # release's end points, mean over the clips that hold both labels
    macro_auc_plain: float | None  # no end points, mean over the clips that hold both labels
    one_class_clips: tuple[str, ...]  # names of the clips that hold one label only


def frame_auc(clips: Sequence[ScoredClip]) -> FrameAuc:
    """All frame-level areas.

    Raises:
        ValueError: no clips, or all frames of all clips have the same label.
    """
    release = [clip_auc_release(clip) for clip in clips]
    plain = [clip_auc_plain(clip) for clip in clips]
    return FrameAuc(
        micro_auc=micro_auc(clips),
        macro_auc=float(np.mean(release)),
        macro_auc_two_class=_mean([area for area, clip in zip(release, clips, strict=True) if clip.two_class]),
        macro_auc_plain=_mean([area for area in plain if area is not None]),
        one_class_clips=tuple(clip.name for clip in clips if not clip.two_class),
    )


def _mean(areas: Sequence[float]) -> float | None:
    return float(np.mean(areas)) if areas else None


def micro_auc(clips: Sequence[ScoredClip]) -> float:
    """Area under one ROC over the frames of all clips.

    Raises:
        ValueError: no clips, or only one label among all frames.
    """
    if not clips:
        raise ValueError("no clips to evaluate")
    labels = np.concatenate([clip.labels for clip in clips])
    if labels.min() == labels.max():
        raise ValueError(
            f"all {len(labels)} frames of {len(clips)} clips have label {labels[0]}: there is no ROC; expected normal"
            " frames (0) and anomalous ones (1) among them"
        )
    return float(roc_auc_score(labels, np.concatenate([clip.scores for clip in clips])))


def clip_auc_plain(clip: ScoredClip) -> float | None:
    """Area under a clip's ROC; None where all its frames have one label."""
    return float(roc_auc_score(clip.labels, clip.scores)) if clip.two_class else None


def clip_auc_release(clip: ScoredClip) -> float:
    """Area under a clip's ROC with the release's end points: (label 0, score 0) and (label 1, score 1) added.

    The release's scores lie in [0, 1], so that its end points rank first and last. Ours need not: where a clip's scores
    leave [0, 1], the end points move to its lowest and highest score, and keep their rank up to ties.
    """
    low, high = min(0.0, float(clip.scores.min())), max(1.0, float(clip.scores.max()))
    labels = np.concatenate([[0], clip.labels, [1]])
    return float(roc_auc_score(labels, np.concatenate([[low], clip.scores, [high]])))


class PixelAuc:
    """Pixel-level area: one ROC over all pixels of all frames, gathered frame by frame in constant memory.

    The values are counted in a histogram with one bin for each number of half precision (11 significant bits, as the
    maps are stored): the area is exact for the maps as they are given, however many pixels there are.
    """

    BINS = 0x7C00  # bit patterns of the finite float16 from 0 on, which ascend with the number

    def __init__(self) -> None:
        self._normal = np.zeros(self.BINS, dtype=np.int64)
        self._anomalous = np.zeros(self.BINS, dtype=np.int64)

    def add(self, values: NDArray[np.float16], mask: NDArray[np.bool_]) -> None:
        """Count one frame.

        Args:
            values: float16 [h, w] anomaly map, finite and >= 0; each pixel of the mask takes the value of the map's
                pixel in which its centre lies (nearest neighbour), so that the ground truth is never resampled.
            mask: bool [H, W], True where anomalous, any size.

        Raises:
            TypeError: ``values`` is not float16.
            ValueError: a value is negative, NaN or infinite.
        """
        if values.dtype != np.float16:
            raise TypeError(f"values: expected float16, found {values.dtype}")
        bins = bits_of(values)
        if int(bins.max()) >= self.BINS:
            raise ValueError("values: expected finite numbers >= 0, found a negative, NaN or infinite one")
        rows, columns = nearest(mask.shape[0], bins.shape[0]), nearest(mask.shape[1], bins.shape[1])
        at_mask = bins[rows][:, columns]  # [H, W]
        anomalous = np.bincount(at_mask[mask], minlength=self.BINS)
        self._anomalous += anomalous
        self._normal += np.bincount(at_mask.ravel(), minlength=self.BINS) - anomalous

    @property
    def both_labels(self) -> bool:
        """Whether there are normal and anomalous pixels: else there is no area."""
        return bool(self._normal.any() and self._anomalous.any())

    def area(self) -> float:
        """The area so far.

        Raises:
            ValueError: all pixels have the same label.
        """
        if not self.both_labels:
            raise ValueError("all pixels have the same label: there is no ROC; expected masks with both")
        counts = np.concatenate([self._normal, self._anomalous])
        labels = np.repeat([0, 1], self.BINS)
        values = np.tile(np.arange(self.BINS), 2)
        seen = counts > 0
        return float(roc_auc_score(labels[seen], values[seen], sample_weight=counts[seen]))


def bits_of(values: NDArray[np.float16]) -> NDArray[np.uint16]:
    """Bit patterns of numbers >= 0, which ascend with them; -0.0 counts as 0.0, and those of others come last."""
    return (values + np.float16(0)).view(np.uint16)  # the sum turns -0.0 into 0.0


def nearest(target: int, source: int) -> NDArray[np.intp]:
    """Index into ``source`` pixels of the one in which the centre of each of ``target`` pixels lies, [target]."""
    return (2 * np.arange(target) + 1) * source // (2 * target)
