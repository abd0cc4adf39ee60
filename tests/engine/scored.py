"""Frames to score."""

from __future__ import annotations

import numpy as np


def pixels(count: int, height: int = 40, width: int = 72) -> np.ndarray:
    """A textured scene that drifts, uint8 [T, H, W, 3]."""
    scene = np.random.default_rng(3).integers(0, 256, (height, width + count, 3), dtype=np.uint8)
    return np.stack([scene[:, t : t + width] for t in range(count)]) if count else np.zeros((0, 4, 4, 3), np.uint8)
