"""Anomalies of UBnormal, as in the paper: objects cropped by their pixel masks, moving along their tracks.

UBnormal is licensed CC BY-NC-ND 4.0. Read are the videos of its official abnormal training split, in the published
layout (evaluation/layouts.py): ``Scene1/abnormal_scene_1_scenario_1.mp4`` and beside it
``abnormal_scene_1_scenario_1_annotations/`` with ``..._tracks.txt`` (object, first and last frame) and
``..._0012_gt.png``, frame 12's map of objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from aedmae_fast.evaluation.ground_truth import grey_image, tracks_of
from aedmae_fast.evaluation.layouts import ubnormal_names, ubnormal_video
from aedmae_fast.training.cache import load_clips
from aedmae_fast.training.objects import Part, cut_thing
from aedmae_fast.training.sample import Piece
from aedmae_fast.training.synthetic import Placed, Rng
from aedmae_fast.training.things import OFFSETS, Thing

EVERY = 8  # frames of a track between two things
SMALLEST = 6  # pixels of an object's mask at the model's size


@dataclass(frozen=True)
class UBnormalAnomalies:
    """Things that the data set calls abnormal, at any place of the frame and of about their size.

    Args:
        inside: bool [H, W], where they may be placed; None: anywhere.
    """

    things: tuple[Thing, ...]
    size: tuple[int, int]  # height and width of the frames they are for
    inside: NDArray[np.bool_] | None = None

    @cached_property
    def name(self) -> str:
        digest = hashlib.sha256()
        for thing in self.things:
            digest.update(repr(thing.crops.shape).encode() + thing.crops.tobytes() + thing.path.tobytes())
        return f"UBnormal {digest.hexdigest()[:16]}"

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        assert self.inside is not None
        return np.argwhere(self.inside)

    def draw(self, scene: int, rng: Rng) -> Placed:
        """Any of the things, whatever the scene, at any place; half of the time mirrored, 0.6 to 1.4 times as large."""
        thing = self.things[rng.integers(len(self.things))]
        if self.inside is None:
            spot = np.array(self.size) * rng.uniform(0.1, 0.9, 2)
        else:
            spot = self._places[rng.integers(len(self._places))]
        crops, way = thing.crops, thing.path - thing.centre
        if rng.random() < 0.5:
            crops, way = crops[:, :, ::-1], way * (1, -1)
        scale = float(rng.uniform(0.6, 1.4))
        return Placed(Thing(crops, (spot + scale * way).astype(np.float32)), (scale, scale))


def read_ubnormal(
    root: Path,
    size: tuple[int, int],
    on_video: Callable[[int], None] = lambda _: None,
    inside: NDArray[np.bool_] | None = None,
) -> UBnormalAnomalies:
    """Cut the objects out of all abnormal training videos under ``root``, at the model's size.

    ``inside``, bool [H, W], is where they may be placed; None: anywhere.

    Raises:
        ValueError: not UBnormal's layout, a mask is damaged, or nothing could be cut.
        OSError: a file is missing or unreadable.
    """
    things: list[Thing] = []
    for name in ubnormal_names(root, "abnormal_training"):
        things.extend(_cut_video(ubnormal_video(root, name), name, size))
        on_video(1)
    if not things:
        raise ValueError(f"{root}: no object of UBnormal is large enough at {size[0]}x{size[1]}")
    return UBnormalAnomalies(tuple(things), size, inside)


def _cut_video(video: Path, name: str, size: tuple[int, int]) -> Iterator[Thing]:
    annotations = video.with_name(f"{name}_annotations")
    (frames,) = load_clips([Piece(video)], size, None).frames
    for number, first, last in tracks_of(annotations / f"{name}_tracks.txt"):
        last = min(last, len(frames) - 1)
        for t in range(first - OFFSETS[0], last - OFFSETS[-1] + 1, EVERY):
            parts = [_part(annotations / f"{name}_{t + offset:04d}_gt.png", number, size) for offset in OFFSETS]
            seen = [part for part in parts if part is not None]
            thing = cut_thing([frames[t + o] for o in OFFSETS], seen) if len(seen) == len(OFFSETS) else None
            if thing is not None:
                yield thing


def _part(file: Path, number: int, size: tuple[int, int]) -> Part | None:
    """The object's pixels in one frame; None where there are hardly any."""
    objects = np.asarray(Image.fromarray(grey_image(file)).resize(size[::-1], Image.Resampling.NEAREST))
    mask = objects == number
    if mask.sum() < SMALLEST:
        return None
    (box,) = ndimage.find_objects(mask.astype(np.int32))
    return Part(mask[box], box[0].start, box[1].start, int(mask.sum()))
