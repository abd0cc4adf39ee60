"""Mirrored samples: everything of a sample or nothing, as often as asked for."""

from __future__ import annotations

import numpy as np

from aedmae_fast.training.mirror import in_a_mirror
from aedmae_fast.training.settings import TrainSettings
from aedmae_fast.training.synthetic import Sample
from tests.training.scenes import training_frames


def test_everything_changes_sides() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
    before = Sample(frames, frames[2].copy(), rng.integers(0, 2, (8, 12), dtype=np.uint8) * 255)
    mirrored = in_a_mirror(before, 1.0, rng)
    np.testing.assert_array_equal(mirrored.frames, before.frames[:, :, ::-1])
    np.testing.assert_array_equal(mirrored.target, before.target[:, ::-1])
    np.testing.assert_array_equal(mirrored.anomaly_map, before.anomaly_map[:, ::-1])
    assert in_a_mirror(before, 0.0, rng) is before
    share = np.mean([in_a_mirror(before, 0.3, rng) is not before for _ in range(2000)])
    assert abs(share - 0.3) < 0.05


def test_a_mirrored_training_sample_is_the_same_one_from_the_other_side() -> None:
    """Missing neighbours included: the first frame's are the frame itself."""
    plain = training_frames(TrainSettings(seed=5, anomaly_share=1.0))
    always = training_frames(TrainSettings(seed=5, anomaly_share=1.0, mirror=1.0))
    for index in (0, 17):
        expected, mirrored = (each.batch([index], epoch=0) for each in (plain, always))
        for name in ("windows", "target", "gradient", "anomaly_map"):
            axis = 3 if name == "windows" else 2
            np.testing.assert_array_equal(getattr(mirrored, name), getattr(expected, name).flip(axis))
        assert mirrored.anomaly_map.any()
        np.testing.assert_array_equal(mirrored.ids_shuffle, expected.ids_shuffle)
