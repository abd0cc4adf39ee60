"""Synthetic anomalies: a pure function of five frames, a source of anomalies and a random generator.

The paper pastes objects of UBnormal. :class:`ProceduralAnomalies` needs no other data: things cut out of the training
clips themselves come back too fast, too large, in another dress or where nobody goes, beside textured shapes. Other
things come back as they were, as normal: so that a paste is no cue in itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.training.objects import Cutouts, soft_alpha
from aedmae_fast.training.things import MIDDLE, OFFSETS, Bytes, Floats, Thing, apart, paste, straight_path

Rng = np.random.Generator


class Sample(NamedTuple):
    """What the network sees and what it shall say of frame t."""

    frames: Bytes  # [5, H, W, 3] at t + OFFSETS, with everything pasted; the frames given, where nothing is
    target: Bytes  # [H, W, 3] frame t without the anomaly (normal pastes stay)
    anomaly_map: Bytes  # [H, W] 255 where the anomaly changed frame t, else 0


class Placed(NamedTuple):
    """A thing ready to be pasted."""

    thing: Thing
    scale: tuple[float, float] = (1.0, 1.0)  # rows, columns


class AnomalySource(Protocol):
    """Where abnormal things come from."""

    @property
    def name(self) -> str:
        """Which they are: what a resumed run must find again, beside its data."""
        ...

    def draw(self, scene: int, rng: Rng) -> Placed:
        """Something abnormal for a frame of this scene, placed in it."""
        ...


def synthesise(
    frames: Bytes,
    scene: int,
    source: AnomalySource,
    normal: Cutouts,
    rng: Rng,
    anomaly_share: float,
    normal_share: float,
) -> Sample:
    """Paste, each with its own probability, something normal and something abnormal.

    Args:
        frames: uint8 [5, H, W, 3] at t + OFFSETS; not changed.
        scene: which of ``normal``'s scenes they show.
        anomaly_share: probability of an abnormal paste.
        normal_share: probability of a normal one, where the scene has things.

    A thing that happens to change no pixel of frame t leaves no trace: its map is 0 everywhere.
    """
    if rng.random() < normal_share and normal.things[scene]:
        frames = frames.copy()
        paste(frames, _somewhere_usual(normal.things[scene], rng))
    target = frames[MIDDLE]
    if rng.random() >= anomaly_share:
        return Sample(frames, target, np.zeros(target.shape[:2], np.uint8))
    placed = source.draw(scene, rng)
    frames = frames.copy()
    paste(frames, _in_colours(placed.thing, normal.colour[scene]), placed.scale)
    different = frames[MIDDLE] != target
    changed = different[..., 0] | different[..., 1] | different[..., 2]
    return Sample(frames, target, changed.astype(np.uint8) * 255)


def _somewhere_usual(things: tuple[Thing, ...], rng: Rng) -> Thing:
    """A thing as it was, moved along its row by less than its width, or onto another's column."""
    thing, other = (things[i] for i in rng.integers(len(things), size=2))
    shift = np.array([0, np.rint(other.centre[1] - thing.centre[1])], np.float32)
    return Thing(thing.crops, thing.path + shift)


def _in_colours(thing: Thing, most: float) -> Thing:
    """A thing whose channels lie at most so many levels apart: colour in a grey video would give anomalies away."""
    most_apart = apart(thing.crops).max()
    if most_apart <= most:
        return thing
    crops = thing.crops.copy()
    grey = crops[..., :3].mean(axis=-1, keepdims=True)
    crops[..., :3] = np.rint(grey + (crops[..., :3] - grey) * (most / most_apart))
    return Thing(crops, thing.path)


@dataclass(frozen=True)
class ProceduralAnomalies:
    """Anomalies made of what the training clips hold.

    Args:
        inside: bool [H, W], where anomalies may be placed; None: anywhere.
    """

    cutouts: Cutouts
    inside: NDArray[np.bool_] | None = None
    name = "procedural"

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        assert self.inside is not None
        return np.argwhere(self.inside)

    def draw(self, scene: int, rng: Rng) -> Placed:
        """A shape or, in a scene that has things, one of them: too fast (the likeliest), large, dressed, misplaced."""
        things = self.cutouts.things[scene]
        kinds: list[Callable[[int, Rng], Placed]] = [self._shape]
        if things:
            kinds += [self._fast, self._fast, self._large, self._dressed, self._misplaced]
        return kinds[rng.integers(len(kinds))](scene, rng)

    def _fast(self, scene: int, rng: Rng) -> Placed:
        """2 to 6 times too fast, half of the time in another direction."""
        thing = self._any(scene, rng)
        velocity = self._velocity(thing, rng) * rng.uniform(2, 6)
        if rng.random() < 0.5:
            velocity = _turned(velocity, rng)
        return Placed(_moved(_mirrored(thing, rng), self._spot(scene, rng), velocity))

    def _large(self, scene: int, rng: Rng) -> Placed:
        """1.3 to 3 times as wide, and of another height: a vehicle's outline."""
        thing = self._any(scene, rng)
        velocity = self._velocity(thing, rng) * rng.uniform(0.5, 3)
        scale = rng.uniform(0.8, 1.6), rng.uniform(1.3, 3)
        if rng.random() < 0.5:
            thing = self._redressed(thing, rng)
        return Placed(_moved(_mirrored(thing, rng), self._spot(scene, rng), velocity), scale)

    def _dressed(self, scene: int, rng: Rng) -> Placed:
        """In another light or another texture."""
        thing = self._redressed(self._any(scene, rng), rng)
        velocity = self._velocity(thing, rng) * rng.uniform(0.5, 3)
        scale = float(rng.uniform(0.8, 1.4))
        return Placed(_moved(thing, self._spot(scene, rng), velocity), (scale, scale))

    def _misplaced(self, scene: int, rng: Rng) -> Placed:
        """Where nothing moved in the training clips; anywhere, and too fast, where something moved everywhere."""
        thing = self._any(scene, rng)
        trodden = self.cutouts.trodden[scene]
        free = np.argwhere(~trodden if self.inside is None else ~trodden & self.inside)
        if len(free) < 0.02 * (trodden.size if self.inside is None else self.inside.sum()):
            return self._fast(scene, rng)
        spot = free[rng.integers(len(free))].astype(np.float32)
        velocity = _turned(self._velocity(thing, rng) * rng.uniform(0.7, 3), rng)
        return Placed(_moved(_mirrored(thing, rng), spot, velocity))

    def _shape(self, scene: int, rng: Rng) -> Placed:
        """A textured blob of any size and speed."""
        size = self.cutouts.height * rng.uniform(0.5, 2)
        h, w = max(6, round(size)), max(6, round(size * rng.uniform(0.4, 2.5)))
        crop = np.empty((len(OFFSETS), h, w, 4), np.uint8)
        crop[..., :3] = self._texture(h, w, rng)
        crop[..., 3] = _blob(h, w, rng)
        angle = rng.uniform(0, 2 * np.pi)
        speed = self.cutouts.speed * rng.uniform(0, 6)
        velocity = speed * np.array([0.5 * np.sin(angle), np.cos(angle)], np.float32)
        return Placed(Thing(crop, straight_path(self._spot(scene, rng), velocity)))

    def _any(self, scene: int, rng: Rng) -> Thing:
        things = self.cutouts.things[scene]
        return things[rng.integers(len(things))]

    def _spot(self, scene: int, rng: Rng) -> Floats:
        """Where things are, give or take their height; anywhere in a scene without things. [2]"""
        if self.cutouts.things[scene] and rng.random() < 0.8:
            return self._any(scene, rng).centre + rng.normal(0, self.cutouts.height / 4, 2).astype(np.float32)
        if self.inside is not None:
            return self._places[rng.integers(len(self._places))].astype(np.float32)
        return (np.array(self.cutouts.trodden.shape[1:]) * rng.uniform(0.05, 0.95, 2)).astype(np.float32)

    def _velocity(self, thing: Thing, rng: Rng) -> Floats:
        """The thing's own, or the usual one in either direction where it hardly moves."""
        if np.hypot(*thing.velocity) > self.cutouts.speed / 2:
            return thing.velocity
        return np.array([0, rng.choice([-1, 1]) * max(self.cutouts.speed, 0.2)], np.float32)

    def _redressed(self, thing: Thing, rng: Rng) -> Thing:
        crops = thing.crops.copy()
        if rng.random() < 0.5:
            crops[..., :3] = self._texture(crops.shape[1], crops.shape[2], rng)
        else:
            light = crops[..., :3] * rng.uniform(0.4, 1.8, 3) + rng.uniform(-60, 60, 3)
            crops[..., :3] = np.clip(light, 0, 255)
        return Thing(crops, thing.path)

    def _texture(self, h: int, w: int, rng: Rng) -> Bytes:
        """[h, w, 3]: a piece of some frame, mirrored on as needed, in another light."""
        square = self.cutouts.textures[rng.integers(len(self.cutouts.textures))]
        rows, columns = (_folded(extent, len(square), rng) for extent in (h, w))
        piece = square[rows][:, columns] * rng.uniform(0.5, 1.6, 3) + rng.uniform(-70, 70)
        return np.clip(piece, 0, 255).astype(np.uint8)


def _moved(thing: Thing, centre: Floats, velocity: Floats) -> Thing:
    return Thing(thing.crops, straight_path(centre, velocity))


def _turned(velocity: Floats, rng: Rng) -> Floats:
    """Another direction; up and down halved, as a camera that looks along the ground sees it."""
    angle, speed = rng.uniform(0, 2 * np.pi), np.hypot(*velocity)
    return np.array([0.5 * speed * np.sin(angle), speed * np.cos(angle)], np.float32)


def _mirrored(thing: Thing, rng: Rng) -> Thing:
    return Thing(thing.crops[:, :, ::-1], thing.path) if rng.random() < 0.5 else thing


def _folded(extent: int, side: int, rng: Rng) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Indices 0..side-1 that run forth and back."""
    at = (np.arange(extent) + rng.integers(2 * side)) % (2 * side)
    return np.minimum(at, 2 * side - 1 - at)


def _blob(h: int, w: int, rng: Rng) -> Bytes:
    """Alpha of one to three ellipses that overlap, [h, w]."""
    y, x = np.mgrid[0:h, 0:w]
    mask = np.zeros((h, w), np.float32)
    for _ in range(rng.integers(1, 4)):
        cy, cx = rng.uniform(0.4, 0.6, 2) * (h, w)
        ry, rx = rng.uniform(0.25, 0.45, 2) * (h, w)
        power = rng.choice([2, 6])  # an ellipse, or nearly a rectangle
        mask = np.maximum(mask, np.abs((y - cy) / ry) ** power + np.abs((x - cx) / rx) ** power < 1)
    mask[0] = mask[-1] = mask[:, 0] = mask[:, -1] = 0
    return soft_alpha(mask)
