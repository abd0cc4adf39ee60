"""Every default and where it comes from: the paper (arXiv 2306.12041), the authors' release, or a choice of ours."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

WINDOW = (-3, 0, 3)  # frames that the network sees around frame t (paper, section 3)
CHANNELS = 3  # BGR
TARGET_CHANNELS = 4  # BGR and the anomaly map
TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}  # of ModelConfig's fields


@dataclass(frozen=True)
class ModelConfig:
    """Shape of an AED-MAE network and of its bank of masks.

    The defaults are the paper's network; the four data sets differ in input size and patch only (see :data:`CONFIGS`).
    """

    height: int  # model input, pixels; a multiple of ``patch``
    width: int
    patch: int  # side d of the square patches (paper, section 4)
    encoder_dim: int = 256
    decoder_dim: int = 128
    heads: int = 4
    encoder_depth: int = 3
    decoder_depth: int = 3  # teacher; the student has one block, after the teacher's first
    mlp_ratio: int = 2
    dropout: float = 0.1  # in the MLPs, training only
    mask_ratio: float = 0.5
    class_head: bool = True  # Eq. 5; the release has none
    mask_count: int = 16  # size K of the mask bank: frame t uses mask t mod K. Ours; the release draws afresh
    mask_seed: int = 0

    def __post_init__(self) -> None:
        """
        Raises:
            TypeError: a value that is not of its field's type.
            ValueError: one that is out of range, or values that do not fit together.
        """
        for field in dataclasses.fields(self):  # they may come from a file
            value, expected = getattr(self, field.name), TYPES[str(field.type)]
            if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
                raise TypeError(f"ModelConfig.{field.name}: expected {field.type}, found {value!r}")
        for name in ("height", "width", "patch", "encoder_dim", "decoder_dim", "heads", "encoder_depth", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"ModelConfig.{name}: expected at least 1, found {getattr(self, name)}")
        for name in ("height", "width"):
            if (pixels := getattr(self, name)) % self.patch:
                raise ValueError(f"ModelConfig: {name}={pixels} is not a multiple of patch={self.patch}")
        for name in ("encoder_dim", "decoder_dim"):
            if getattr(self, name) % self.heads:
                raise ValueError(f"ModelConfig: {name}={getattr(self, name)} is not a multiple of heads={self.heads}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"ModelConfig.dropout: expected 0 to 1, found {self.dropout}")
        if not 0 <= self.mask_seed < 2**64:
            raise ValueError(f"ModelConfig.mask_seed: expected 0 to 2^64 - 1, found {self.mask_seed}")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"ModelConfig.mask_ratio: expected in (0, 1), found {self.mask_ratio}")
        rows, columns = self.grid
        if self.decoder_depth < 2:
            raise ValueError("ModelConfig.decoder_depth: expected at least 2 (the student branches after block 0)")
        if self.kept < 1 or self.kept % rows:
            raise ValueError(
                f"ModelConfig: {self.kept} visible tokens do not fill {rows} rows of {columns}*(1-{self.mask_ratio});"
                " choose a width whose token columns the mask ratio divides, or another mask ratio"
            )
        if self.mask_count < 1 or self.mask_count % self.masks_to_cover:
            raise ValueError(
                f"ModelConfig.mask_count={self.mask_count} is not a multiple of {self.masks_to_cover}, the masks"
                f" that it takes to see every patch at mask_ratio={self.mask_ratio}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Token rows and columns, (H/d, W/d)."""
        return self.height // self.patch, self.width // self.patch

    @property
    def tokens(self) -> int:
        """Number L of tokens of a whole frame."""
        return self.grid[0] * self.grid[1]

    @property
    def kept(self) -> int:
        """Number of visible tokens: L * (1 - mask_ratio), rounded down if need be."""
        rows, columns = self.grid
        whole = round(columns * (1 - self.mask_ratio))
        if rows > 1 and math.isclose(columns * (1 - self.mask_ratio), whole):  # 1 - 0.8 is a little less than 0.2
            return rows * whole
        return int(self.tokens * (1 - self.mask_ratio))

    @property
    def encoder_grid(self) -> tuple[int, int]:
        """Grid in which the encoder's convolutions see the visible tokens, H/d x (W/d)(1-r), in shuffled order."""
        return self.grid[0], self.kept // self.grid[0]

    @property
    def masks_to_cover(self) -> int:
        """Masks of one group that together show every patch: 2 for a ratio of 0.5."""
        return -(-self.tokens // self.kept)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`.

        Raises:
            TypeError: A value that is not of its field's type.
            ValueError: An unknown or a missing field, one that is out of range, or values that do not fit together.
        """
        fields = {f.name: f for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - set(fields)):
            raise ValueError(f"ModelConfig: unknown fields {unknown}; known are {sorted(fields)}")
        required = {name for name, f in fields.items() if f.default is dataclasses.MISSING}
        if missing := sorted(required - set(values)):
            raise ValueError(f"ModelConfig: missing fields {missing}")
        return cls(**values)


CONFIGS: dict[str, ModelConfig] = {
    "avenue": ModelConfig(height=320, width=640, patch=16),  # release
    "shanghaitech": ModelConfig(height=160, width=320, patch=8),  # release
    "ubnormal": ModelConfig(height=160, width=320, patch=8),  # patch from the paper, size inferred
    "ped2": ModelConfig(height=80, width=160, patch=4),  # patch from the paper, size inferred (20 x 40 tokens)
}


def check_names(values: Any) -> None:
    """Each field of a dataclass with a choice of names has one of them: another would silently be one of them.

    Raises:
        ValueError: another name; the message says which field and what it may be.
    """
    for name, hint in get_type_hints(type(values)).items():
        if get_origin(hint) is Literal and getattr(values, name) not in get_args(hint):
            expected, found = " or ".join(map(repr, get_args(hint))), getattr(values, name)
            raise ValueError(f"{type(values).__name__}.{name}: expected {expected}, found {found!r}")


@dataclass(frozen=True)
class Gaussian:
    """Temporal smoothing of a clip's raw scores.

    ``release`` reproduces the authors' filter: centre one tap left of the middle, unnormalised density, zeros beyond
    the ends. ``centred`` is the textbook one: symmetric, and at the ends a mean over the frames that exist.
    """

    taps: int
    sigma: float  # frames
    kind: Literal["release", "centred"] = "centred"

    def __post_init__(self) -> None:
        check_names(self)
        if self.taps < 1 or self.taps % 2 != 1 or not 0 < self.sigma < math.inf:
            raise ValueError(
                f"Gaussian: expected an odd number of taps and a finite sigma > 0, found {self.taps}, {self.sigma}"
            )


@dataclass(frozen=True)
class ScoringPreset:
    """How errors become a score per frame. Each term is kept as a column of its own whatever its weight.

    Raises:
        ValueError: a name that is none of its field's, a weight that is not finite, or a filter of another form.
    """

    name: str
    source: str
    error: Literal["L1", "L2"]  # teacher error and teacher-student gap
    channels: Literal["sum", "mean"]  # over the 4 target channels; the anomaly map's target is "normal"
    pool: Literal["mean", "max"]  # over the pixels of a frame
    colour_weight: float  # teacher error of the colours
    abnormal_weight: float  # teacher error of the anomaly map; the teacher's error in Eq. 6 is both
    gap_weight: float
    class_weight: float
    map_filter: tuple[int, int, int]  # mean filter over (frames, rows, columns), odd; (1, 1, 1) = none
    smooth: Gaussian
    min_max: bool = False  # stretch each clip's smoothed scores to [0, 1]

    def __post_init__(self) -> None:
        check_names(self)
        for name in ("colour_weight", "abnormal_weight", "gap_weight", "class_weight"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"ScoringPreset.{name}: expected a finite number, found {getattr(self, name)}")
        if len(self.map_filter) != 3 or any(extent < 1 or extent % 2 != 1 for extent in self.map_filter):
            raise ValueError(f"ScoringPreset.map_filter: expected three odd numbers, found {self.map_filter}")
        if self.pool == "mean" and self.map_filter != (1, 1, 1):
            raise ValueError("ScoringPreset.map_filter: a mean over the frame needs no filter; expected (1, 1, 1)")


PRESETS: dict[str, ScoringPreset] = {
    p.name: p
    for p in (
        ScoringPreset(
            name="paper",
            source="Eq. 6; the filter sizes are not printed: those of the authors' earlier system (9x9x9, 301 taps)",
            error="L2",
            channels="sum",
            pool="max",
            colour_weight=0.4,
            abnormal_weight=0.4,
            gap_weight=0.3,
            class_weight=0.3,
            map_filter=(9, 9, 9),
            smooth=Gaussian(taps=301, sigma=21),
        ),
        ScoringPreset(
            name="anomaly-map",
            source="ours: where the teacher paints an anomaly (0..1), and the class probability; chosen by"
            " synthetic anomalies in held-out training clips of UCSD Ped2 (weights/README.md)",
            error="L1",
            channels="sum",
            pool="max",
            colour_weight=0.0,
            abnormal_weight=0.5,  # |-1 - x^_4| is 2 where the map is 1
            gap_weight=0.0,
            class_weight=1.0,
            map_filter=(1, 9, 9),
            smooth=Gaussian(taps=65, sigma=8),
        ),
        ScoringPreset(
            name="release-avenue",
            source="the authors' release, Avenue",
            error="L2",
            channels="mean",
            pool="mean",
            colour_weight=1.0,
            abnormal_weight=1.0,
            gap_weight=1.0,
            class_weight=0.0,
            map_filter=(1, 1, 1),
            smooth=Gaussian(taps=37, sigma=11, kind="release"),
        ),
        ScoringPreset(
            name="release-shanghaitech",
            source="the authors' release, ShanghaiTech",
            error="L1",
            channels="mean",
            pool="mean",
            colour_weight=1.0,
            abnormal_weight=1.0,
            gap_weight=0.0,
            class_weight=0.0,
            map_filter=(1, 1, 1),
            smooth=Gaussian(taps=899, sigma=282, kind="release"),
            min_max=True,
        ),
    )
}
