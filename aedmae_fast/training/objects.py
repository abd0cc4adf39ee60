"""Things cut out of the training clips by their motion, and what is usual for them: size, speed, place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from aedmae_fast.training.things import OFFSETS, Bytes, Floats, Thing, apart

BACKGROUND_FRAMES = 50  # of a clip, evenly spread: their median is its background
DIFFERENT = 20  # levels from the background, largest of the channels: above a codec's noise
AREA = (0.0006, 0.1)  # share of the frame that a thing may cover
GROWTH = 1.6  # how much a thing's area may change over the five frames
PACE = 0.02  # fastest motion that is followed, frame widths per frame
MOST = 1000  # things kept in all
VISITS = 1000  # frames looked at in all, but at least 4 in each clip
SAME_SCENE = 12.0  # mean difference in levels below which two backgrounds are the same camera's ...
SAME_CONTRAST = 0.5  # ... and below so many of their standard deviations: two dark pictures are always near each other
SAME_EDGES = 0.4  # correlation of their edges above which they are, whatever the light; other cameras': below 0.1
GREY = 3.0  # levels that the channels of a video without colour lie apart, a codec's rounding included
TEXTURES = 128
MORE_COLOUR = 3.0  # an anomaly's channels may lie so many times as far apart as a scene's do


@dataclass(frozen=True)
class Cutouts:
    """What the training clips hold. Everything is at the model's size."""

    things: tuple[tuple[Thing, ...], ...]  # by scene
    textures: Bytes  # [N, S, S, 3] squares of frames
    trodden: NDArray[np.bool_]  # [scenes, H, W] where anything moved
    scene_of: tuple[int, ...]  # scene of each clip: clips of one camera share theirs, those at night without colour
    colour: tuple[float, ...]  # by scene: levels that an anomaly's channels may lie apart; 0 where frames are grey
    speed: float  # the things' median, pixels per frame; where there are none, a guess
    height: float  # the things' median, pixels; likewise


def cut_objects(
    clips: Sequence[Bytes],
    seed: int,
    on_clip: Callable[[int], None] = lambda _: None,
    inside: NDArray[np.bool_] | None = None,
) -> Cutouts:
    """Look through the clips for things that move on their own before a still background.

    Args:
        clips: uint8 [T, H, W, 3] each.
        seed: for the choice of the textures.
        on_clip: called with 1 after each clip.
        inside: bool [H, W], the region outside of which the clips are black; None: there is none.

    Where the camera moves or nothing does, there are no things, and synthetic anomalies are textured shapes only.
    """
    _, height, width, _ = clips[0].shape
    backgrounds: list[Background] = []
    things: list[list[Thing]] = []
    trodden: list[NDArray[np.bool_]] = []
    colour: list[float] = []
    scene_of = []
    visits = max(4, VISITS // len(clips))
    for clip in clips:
        sampled = background_frames(clip)
        spread = colour_of(sampled if inside is None else sampled[:, inside])
        background = Background.of(sampled, spread <= GREY)
        scene = scene_among(backgrounds, background)
        if scene == len(things):
            things.append([])
            trodden.append(np.zeros((height, width), np.bool_))
            colour.append(0.0)
        scene_of.append(scene)
        colour[scene] = max(colour[scene], MORE_COLOUR * spread)
        found, moved = _cut_clip(clip, background.pixels, visits, MOST // len(clips) + 1)
        things[scene].extend(found)
        trodden[scene] |= moved
        on_clip(1)
    every = [thing for of_scene in things for thing in of_scene]
    return Cutouts(
        things=tuple(map(tuple, things)),
        textures=_textures(clips, inside, np.random.default_rng(seed)),
        trodden=np.stack(trodden),
        scene_of=tuple(scene_of),
        colour=tuple(colour),
        speed=float(np.median([np.hypot(*t.velocity) for t in every])) if every else 0.005 * width,
        height=float(np.median([t.crops.shape[1] - 4 for t in every])) if every else 0.15 * height,
    )


class Background(NamedTuple):
    """What stands still in a clip."""

    pixels: Floats  # [H, W, 3] levels
    edges: Floats  # [2, H, W] its slopes down and right, of length 1 altogether: the same in any light
    grey: bool  # without colour, as cameras are at night

    @classmethod
    def of(cls, frames: Bytes, grey: bool) -> Background:
        """The median of frames [N, H, W, 3]."""
        pixels = np.median(frames, axis=0).astype(np.float32)
        slopes = np.stack(np.gradient(pixels.mean(axis=-1)))
        edges: Floats = (slopes / max(float(np.linalg.norm(slopes)), 1e-6)).astype(np.float32)
        return cls(pixels, edges, grey)

    def same_camera(self, other: Background) -> bool:
        """Whether both show the same scene, at another hour perhaps; not whether one is in colour and one is not."""
        # Never less than what a codec's rounding makes of one picture.
        most = min(SAME_SCENE, max(GREY, SAME_CONTRAST * min(self.pixels.std(), other.pixels.std())))
        alike = np.abs(self.pixels - other.pixels).mean() < most or np.vdot(self.edges, other.edges) > SAME_EDGES
        return self.grey == other.grey and bool(alike)


def scene_among(scenes: list[Background], background: Background) -> int:
    """Which of the known scenes a clip's background shows; a new one is added to them."""
    found = next((i for i, known in enumerate(scenes) if known.same_camera(background)), len(scenes))
    if found == len(scenes):
        scenes.append(background)
    return found


def colour_of(pixels: Bytes) -> float:
    """How far the channels of frames' pixels [..., 3] lie apart, in levels: nearly the most."""
    return float(np.quantile(apart(pixels), 0.99))


def background_frames(clip: Bytes) -> Bytes:
    """Some frames, evenly spread over a clip, whose median is what stands still in it."""
    chosen = np.unique(np.linspace(0, len(clip) - 1, BACKGROUND_FRAMES).astype(int))
    sampled: Bytes = clip[chosen]
    return sampled


class Part(NamedTuple):
    """A connected foreground region of a frame."""

    mask: NDArray[np.bool_]  # [h, w], its bounding box
    top: int
    left: int
    area: int  # pixels

    @property
    def centre(self) -> tuple[float, float]:
        return self.top + self.mask.shape[0] / 2, self.left + self.mask.shape[1] / 2

    def corner(self, size: tuple[int, int]) -> tuple[int, int]:
        """Top and left of a box of this height and width around it; may lie outside of the frame."""
        return self.top - (size[0] - self.mask.shape[0]) // 2, self.left - (size[1] - self.mask.shape[1]) // 2

    def distance(self, other: Part) -> float:
        return math.dist(self.centre, other.centre)


def _cut_clip(clip: Bytes, background: Floats, visits: int, most: int) -> tuple[list[Thing], NDArray[np.bool_]]:
    """Things of one clip, spread evenly over it, and where anything moved [H, W]."""
    moved = np.zeros(clip.shape[1:3], np.bool_)

    @lru_cache(maxsize=4 * OFFSETS[-1])
    def parts(t: int) -> list[Part]:
        found = find_parts(clip[t], background)
        for part in found:
            moved[part.top : part.top + part.mask.shape[0], part.left : part.left + part.mask.shape[1]] |= part.mask
        return found

    first, last = -OFFSETS[0], len(clip) - 1 - OFFSETS[-1]
    followed = []
    for t in np.unique(np.linspace(first, last, visits).astype(int)).tolist() if first <= last else []:
        for part in parts(t):
            seen = [find_again(part, parts(t + offset), abs(offset) * PACE * clip.shape[2]) for offset in OFFSETS]
            if len(whole := [part for part in seen if part is not None]) == len(OFFSETS):
                followed.append((t, whole))
    keep = np.unique(np.linspace(0, len(followed) - 1, min(most, len(followed))).astype(int)).tolist()
    cut = [cut_thing([clip[followed[i][0] + offset] for offset in OFFSETS], followed[i][1]) for i in keep]
    return [thing for thing in cut if thing is not None], moved


def find_parts(frame: Bytes, background: Floats) -> list[Part]:
    """What differs from the background [H, W, 3] in a frame, in connected regions that could be things."""
    different = np.abs(frame - background).max(axis=-1) > DIFFERENT
    closed = ndimage.binary_closing(np.pad(different, 2), np.ones((3, 3)))[2:-2, 2:-2]
    labels, count = ndimage.label(closed, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    low, high = (share * closed.size for share in AREA)
    return [
        Part(labels[box] == i, box[0].start, box[1].start, int(areas[i]))
        for i, box in enumerate(ndimage.find_objects(labels), start=1)
        if low <= areas[i] <= high
    ]


def find_again(part: Part, others: Sequence[Part], farthest: float) -> Part | None:
    """The region of another frame that is this one: the nearest, if it is near enough and about as large."""
    nearest = min(others, key=part.distance, default=None)
    if nearest is None or part.distance(nearest) > farthest + 1:
        return None
    return nearest if 1 / GROWTH < nearest.area / part.area < GROWTH else None


def crop_size(seen: Sequence[Part]) -> tuple[int, int]:
    """Height and width of crops that hold all of a region, wherever it was seen, and its soft edge."""
    height, width = (max(part.mask.shape[axis] for part in seen) + 4 for axis in (0, 1))
    return height, width


def cut_thing(frames: Sequence[Bytes], seen: Sequence[Part]) -> Thing | None:
    """Crops of one size around a region, a frame each; None at the frame's edge, where a part of it may be hidden."""
    h, w = crop_size(seen)
    crops, path = np.zeros((len(seen), h, w, 4), np.uint8), np.zeros((len(seen), 2), np.float32)
    for i, (frame, part) in enumerate(zip(frames, seen, strict=True)):
        top, left = part.corner((h, w))
        if top < 0 or left < 0 or top + h > frame.shape[0] or left + w > frame.shape[1]:
            return None
        mask = np.zeros((h, w), np.float32)
        y, x = part.top - top, part.left - left
        mask[y : y + part.mask.shape[0], x : x + part.mask.shape[1]] = part.mask
        crops[i, ..., :3] = frame[top : top + h, left : left + w]
        crops[i, ..., 3] = soft_alpha(mask)
        path[i] = top + h / 2, left + w / 2
    return Thing(crops, path)


def soft_alpha(mask: Floats) -> Bytes:
    """A mask [h, w] of 0 and 1 with soft edges, as 0..255."""
    return np.rint(255 * ndimage.gaussian_filter(mask, 0.7)).astype(np.uint8)


def _textures(clips: Sequence[Bytes], inside: NDArray[np.bool_] | None, rng: np.random.Generator) -> Bytes:
    """Squares of frames, their centres in the region."""
    height, width = clips[0].shape[1:3]
    side = max(8, min(height, width) // 4)
    corners = height - side + 1, width - side + 1
    within = None if inside is None else np.argwhere(inside[side // 2 :, side // 2 :][: corners[0], : corners[1]])
    squares = []
    for _ in range(TEXTURES):
        clip = clips[int(rng.integers(len(clips)))]
        t, y, x = (rng.integers(extent) for extent in (len(clip), *corners))
        if within is not None and len(within):
            y, x = within[rng.integers(len(within))]
        squares.append(clip[t, y : y + side, x : x + side])
    return np.stack(squares)
