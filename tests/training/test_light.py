"""Another light on a sample: the same for its frames and its target, none where none is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from aedmae_fast.training.light import in_another_light
from aedmae_fast.training.settings import TrainSettings
from aedmae_fast.training.synthetic import Sample
from tests.training.scenes import training_frames


def sample_of(rng: np.random.Generator) -> Sample:
    frames = rng.integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
    return Sample(frames, frames[2].copy(), rng.integers(0, 2, (8, 12), dtype=np.uint8) * 255)


def test_one_light_for_frames_and_target() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        before = sample_of(rng)
        kept = before.frames.copy()
        after = in_another_light(before, 0.3, rng)
        assert np.array_equal(before.frames, kept)
        assert np.array_equal(after.target, after.frames[2])
        assert np.array_equal(after.anomaly_map, before.anomaly_map)
        assert (after.frames != before.frames).any()
        order = np.argsort(before.frames, axis=None)
        assert (np.diff(after.frames.flatten()[order].astype(int)) >= 0).all()  # what was darker is not brighter


def test_as_far_as_is_said() -> None:
    grey = np.full((5, 4, 4, 3), 128, np.uint8)
    dark, bright = np.full_like(grey, 78), np.full_like(grey, 178)
    rng = np.random.default_rng(0)
    contrasts, lights = [], []
    for _ in range(500):
        seed = int(rng.integers(1 << 30))
        low, middle, high = (
            int(in_another_light(Sample(x, x[2], x[2, ..., 0]), 0.2, np.random.default_rng(seed)).target[0, 0, 0])
            for x in (dark, grey, bright)
        )
        contrasts.append((high - low) / 100)
        lights.append(middle - 128)
    assert (min(contrasts), max(contrasts)) == pytest.approx((0.8, 1.2), abs=0.02)
    assert (min(lights), max(lights)) == pytest.approx((-25.5, 25.5), abs=1)


def test_none_is_the_same_sample_and_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    sample = sample_of(rng)
    state = rng.bit_generator.state
    assert in_another_light(sample, 0, rng) is sample
    assert rng.bit_generator.state == state


def test_training_samples_have_it() -> None:
    plain, lit = (training_frames(TrainSettings(light=light, seed=3)) for light in (0.0, 0.4))
    for index in (3, 10):
        (before, ids), (after, ids_after) = plain.sample(index, 1), lit.sample(index, 1)
        assert np.array_equal(ids, ids_after)
        assert np.array_equal(before.anomaly_map, after.anomaly_map)
        assert (before.frames != after.frames).any()
