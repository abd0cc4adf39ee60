"""The bank of masks: which patches the encoder sees in frame t.

The release draws a new unseeded mask at every test, so that its scores change from run to run. Here frame t uses mask
``t mod K`` of a bank that is fixed by the configuration: a score depends on the frame and on nothing else, and the
gather indices are constants for a captured graph.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aedmae_fast.config import ModelConfig


def mask_bank(config: ModelConfig) -> Tensor:
    """``ids_shuffle`` of every mask, int64 [K, L]: the first ``config.kept`` of a row are visible, in that order.

    Masks come in groups of ``config.masks_to_cover`` (pairs for a ratio of 0.5) that show every patch between them:
    consecutive frames complement each other, and no patch stays unseen.
    """
    groups = config.mask_count // config.masks_to_cover
    noise = _uniform_bits(config.mask_seed, groups * config.tokens).reshape(groups, config.tokens)
    shuffles = np.argsort(noise, axis=1, kind="stable")  # [K / group, L]
    rolled = [np.roll(shuffles, -i * config.kept, axis=1) for i in range(config.masks_to_cover)]
    return torch.from_numpy(np.stack(rolled, axis=1).reshape(config.mask_count, config.tokens))  # [K, L]


def _uniform_bits(seed: int, count: int) -> NDArray[np.uint64]:
    """SplitMix64: the same numbers on every platform and for ever, which no library's generator promises."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
