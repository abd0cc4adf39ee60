"""What the tests of several ops share: seeded inputs, and how far two results are apart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def random_bytes(*shape: int) -> Tensor:
    """uint8, uniform over 0..255, the same at every call."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def rmse_ratio(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the error over that of the expected values, in float64; NaN, below no bound, if any is."""
    error, scale = (found.double() - expected.double()).norm(), expected.double().norm()
    return (error / scale.clamp(min=1e-300)).item()
