"""Every setting of a training run, its default and where that comes from; and recipes: settings that go together."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from aedmae_fast.config import check_names


@dataclass(frozen=True)
class TrainSettings:
    """How a network is trained. Beside the data and the :class:`ModelConfig`, all that its weights depend on.

    The defaults are the paper's where it prints them (section 4), else the release's or ours, as noted.

    Raises:
        ValueError: a value that is out of range, not finite, or none of the field's names.
    """

    teacher_epochs: int = 100  # paper
    student_epochs: int = 40  # paper; 0 leaves the student untrained
    batch_size: int = 100  # paper; frames of all processes together
    lr: float = 1e-4  # paper
    optimizer: Literal["adam", "adamw"] = "adam"  # paper: Adam; release: AdamW(0.9, 0.95), weight decay 0.05
    schedule: Literal["constant", "cosine"] = "constant"  # within each phase; cosine falls to 0
    warmup_epochs: float = 0.0  # linear, at the start of each phase
    clip_norm: float = 0.0  # largest norm of the gradient; 0 = no limit
    ema: float = 0.0  # decay of the averaged weights per step; 0 = none. A phase ends with its averages
    anomaly_share: float = 0.25  # paper: probability that a frame holds a synthetic anomaly
    normal_share: float = 0.25  # ours: probability of a normal paste, so that a paste is no cue in itself
    light: float = 0.0  # ours: largest change of a sample's contrast and brightness (light.py); 0 = none
    mirror: float = 0.0  # ours: probability that a sample is mirrored (mirror.py)
    class_weight: float = 0.1  # ours: weight of Eq. 5 beside Eq. 3
    motion_weights: bool = True  # Eq. 2; False weighs all tokens alike (an ablation of the paper)
    distillation: Literal["paper", "release"] = "paper"  # Eq. 4 as printed, or the release's mean over masked tokens
    seed: int = 0

    def __post_init__(self) -> None:
        check_names(self)
        for name in ("teacher_epochs", "student_epochs", "warmup_epochs", "clip_norm", "class_weight", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a finite number of at least 0, found {getattr(self, name)}")
        if self.epochs < 1:
            raise ValueError("teacher_epochs and student_epochs: expected at least one epoch in all")
        if self.batch_size < 1 or not 0 < self.lr < math.inf:
            raise ValueError(f"batch_size and lr: expected finite, above 0, found {self.batch_size} and {self.lr}")
        for name in ("anomaly_share", "normal_share", "light", "mirror"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, found {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: expected at least 0 and below 1, found {self.ema}")

    @property
    def epochs(self) -> int:
        return self.teacher_epochs + self.student_epochs

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Recipe(NamedTuple):
    """Settings that go together, and what of the :class:`ModelConfig` goes with them."""

    settings: TrainSettings
    network: dict[str, float]
    source: str


RECIPES = {
    "paper": Recipe(TrainSettings(), {}, "as the paper prints it"),
    "short": Recipe(
        TrainSettings(
            teacher_epochs=10,
            student_epochs=2,
            batch_size=32,
            lr=1e-3,
            optimizer="adamw",
            schedule="cosine",
            warmup_epochs=1.0,
            clip_norm=1.0,
            ema=0.99,
            anomaly_share=0.5,
            normal_share=0.5,
            light=0.2,
        ),
        {"mask_ratio": 0.1, "dropout": 0.0},
        "ours, for two cores",
    ),
}
