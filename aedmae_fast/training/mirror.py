"""A whole sample as in a mirror: where people walk to the left, they may as well walk to the right."""

from __future__ import annotations

import numpy as np

from aedmae_fast.training.synthetic import Rng, Sample

__all__ = ["in_a_mirror"]


def in_a_mirror(sample: Sample, share: float, rng: Rng) -> Sample:
    """Left for right in everything: frames, target and anomaly map.

    Args:
        share: 0..1, probability that the sample is mirrored. 0 draws nothing and changes nothing.
    """
    if not share or rng.random() >= share:
        return sample
    return Sample(
        np.ascontiguousarray(sample.frames[:, :, ::-1]),
        np.ascontiguousarray(sample.target[:, ::-1]),
        np.ascontiguousarray(sample.anomaly_map[:, ::-1]),
    )
