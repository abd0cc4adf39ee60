"""Small generated clips: a textured ground on which squares move at a steady pace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from aedmae_fast.config import ModelConfig
from aedmae_fast.training.data import TrainingFrames
from aedmae_fast.training.objects import cut_objects
from aedmae_fast.training.settings import TrainSettings
from aedmae_fast.training.synthetic import AnomalySource, Placed, ProceduralAnomalies, Rng
from aedmae_fast.training.things import OFFSETS, Bytes, Thing, straight_path
from tests.conftest import TINY

HEIGHT, WIDTH = 32, 64
PACE = 1.0  # pixels a frame
SIDE = 6  # of the squares, pixels


def make_clip(frames: int = 40, seed: int = 0, camera: int = 0) -> Bytes:
    """uint8 [T, 32, 64, 3]: two squares that cross, one to the right in row 6, one to the left in row 20."""
    rng = np.random.default_rng(7 + camera)  # its ground is the same in every clip
    ground = rng.integers(90, 120, (HEIGHT, WIDTH, 3)) + 60 * camera
    colours = np.random.default_rng(seed).integers(0, 60, (2, 3))
    clip = np.repeat(ground[None], frames, axis=0)
    for t in range(frames):
        at = round(t * PACE) % (WIDTH - SIDE)
        clip[t, 6 : 6 + SIDE, at : at + SIDE] = colours[0]
        clip[t, 20 : 20 + SIDE, WIDTH - SIDE - at : WIDTH - at] = colours[1]
    return np.clip(clip, 0, 255).astype(np.uint8)


class WhiteSquares:
    """The plainest anomalies: white, large, still. For seeing a tiny network learn."""

    name = "white squares"

    def draw(self, scene: int, rng: Rng) -> Placed:
        crops = np.full((len(OFFSETS), 14, 14, 4), 255, np.uint8)
        centre = rng.uniform((7, 7), (HEIGHT - 7, WIDTH - 7)).astype(np.float32)
        return Placed(Thing(crops, straight_path(centre, np.zeros(2, np.float32))))


def training_frames(
    settings: TrainSettings, config: ModelConfig = TINY, source: AnomalySource | None = None
) -> TrainingFrames:
    frames = [make_clip(seed=i) for i in range(2)]
    cutouts = cut_objects(frames, seed=0)
    return TrainingFrames(frames, cutouts, source or ProceduralAnomalies(cutouts), config, settings)


def without_dropout(config: ModelConfig = TINY) -> ModelConfig:
    return replace(config, dropout=0.0)


def write_frames(folder: Path, clip: Bytes) -> Path:
    """A clip as a folder of PNG images."""
    folder.mkdir(parents=True)
    for t, frame in enumerate(clip):
        Image.fromarray(frame[..., ::-1]).save(folder / f"{t:03}.png")
    return folder
