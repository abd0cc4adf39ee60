"""Scores from terms: the release's Gaussian by hand, the centred one against SciPy, the map filter in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from aedmae_fast.config import PRESETS, Gaussian, ScoringPreset
from aedmae_fast.engine.postprocess import RawScore, fill_gaps, final_score, hold, min_max, smooth
from aedmae_fast.engine.resident import Resident
from aedmae_fast.engine.runner import FrameTerms
from aedmae_fast.ops import mean_filter, mean_max, smooth_max


@pytest.mark.parametrize("preset", ["release-avenue", "release-shanghaitech"])
@pytest.mark.parametrize("count", [1, 2, 36, 37, 180, 1000])
def test_release_gaussian(preset: str, count: int) -> None:
    """By hand, frame by frame: support 1..taps, centre one left of the middle, zeros outside."""
    gaussian = PRESETS[preset].smooth
    raw = np.random.default_rng(0).random(count)
    support = np.arange(1, gaussian.taps + 1)
    density = stats.norm.pdf(support, loc=support[len(support) // 2 - 1], scale=gaussian.sigma)
    half = len(support) // 2
    padded = np.concatenate([np.zeros(half), raw, np.zeros(half)])
    expected = [np.dot(padded[t : t + len(support)], density) for t in range(count)]
    np.testing.assert_allclose(smooth(raw, gaussian), expected, rtol=1e-12)


def test_release_gaussian_peaks_one_frame_late() -> None:
    """The filter's centre is one left of the middle: an impulse at t comes out highest at t + 1."""
    raw = np.zeros(101)
    raw[50] = 1
    assert int(np.argmax(smooth(raw, PRESETS["release-avenue"].smooth))) == 51


@pytest.mark.parametrize("count", [1, 5, 150, 151, 400])
def test_centred_gaussian_is_scipys(count: int) -> None:
    gaussian = PRESETS["paper"].smooth
    raw = np.random.default_rng(0).random(count)

    def scipy(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter1d(values, gaussian.sigma, mode="constant", radius=gaussian.taps // 2)

    np.testing.assert_allclose(smooth(raw, gaussian), scipy(raw) / scipy(np.ones(count)), rtol=1e-10)
    np.testing.assert_allclose(smooth(np.full(count, 3.0), gaussian), 3.0)  # a constant stays, to the very ends


def test_nothing_stays_nothing() -> None:
    for preset in PRESETS.values():
        assert len(final_score(np.array([]), preset)) == 0


def test_min_max() -> None:
    np.testing.assert_array_equal(min_max(np.array([2.0, 4.0, 3.0])), [0, 1, 0.5])
    np.testing.assert_array_equal(min_max(np.array([2.0, 2.0])), [0, 0])


def test_fill_gaps() -> None:
    filled = fill_gaps(np.array([0, 2, 4]), np.array([0.0, 4.0, 2.0]), 7)
    np.testing.assert_array_equal(filled, [0, 2, 4, 3, 2, 2, 2])
    assert np.isnan(fill_gaps(np.array([], dtype=np.int64), np.array([]), 2)).all()


def test_hold() -> None:
    np.testing.assert_array_equal(hold(np.array([0, 2, 5]), np.array([3.0, 1.0, 2.0]), 7), [3, 3, 1, 1, 1, 2, 2])
    assert np.isnan(hold(np.array([], dtype=np.int64), np.array([]), 2)).all()


def raw_scores(
    preset: ScoringPreset, frames: list[int], maps: torch.Tensor, probs: torch.Tensor | None = None, **how: Any
) -> dict[int, float]:
    """As a loop does: the maps of a few frames at a time, then what is due."""
    probs = torch.zeros(len(frames)) if probs is None else probs
    resident = Resident(tuple(maps.shape[1:]), torch.float32, torch.device("cpu"))
    rows = resident.lend(preset.map_filter[0] - 1 + 4)
    stream, found = RawScore(preset, rows, **how), {}
    for start in range(0, len(frames), 4):
        due = []
        for frame, m in zip(frames[start : start + 4], maps[start : start + 4], strict=True):
            (row,), complete = stream.launch(frame)
            resident.tensor[row] = mean_filter(m, preset.map_filter[1:])
            due += complete
        for frame, prob in zip(frames[start : start + 4], probs[start : start + 4].tolist(), strict=True):
            assert stream.of_terms(frame, FrameTerms(1.5, 0.5, 3.0, prob)) == []
        due += stream.finish() if start + 4 >= len(frames) else []
        for window in due:
            maximum = mean_max(resident.tensor, torch.tensor([window.rows]))[0].item()
            found[window.frame] = maximum + stream.of_maps(window)
    assert rows.free == preset.map_filter[0] - 1 + 4
    return found


@pytest.mark.parametrize("count", [1, 4, 9, 30])
def test_raw_score_streams_the_3d_filter(count: int) -> None:
    maps = torch.rand(count, 12, 16)
    found = raw_scores(PRESETS["paper"], list(range(count)), maps)
    assert list(found) == list(range(count))
    assert list(found.values()) == smooth_max(maps, PRESETS["paper"].map_filter).tolist()


@pytest.mark.parametrize("stride", [2, 3, 5, 9])
def test_raw_score_with_a_stride_uses_the_scored_frames_in_reach(stride: int) -> None:
    frames, preset = list(range(0, 40, stride)), replace(PRESETS["paper"], map_filter=(9, 1, 1))
    maps = torch.rand(len(frames), 4, 4)
    found = raw_scores(preset, frames, maps)
    for frame in frames:
        near = [i for i, other in enumerate(frames) if abs(other - frame) <= 4]
        assert found[frame] == pytest.approx(float(maps[near].mean(0).max()), rel=1e-6)


def test_raw_score_is_due_as_soon_as_its_neighbours_are_known() -> None:
    rows = Resident((9, 9), torch.float32, torch.device("cpu")).lend(9)
    stream = RawScore(PRESETS["paper"], rows)
    assert [[w.frame for w in stream.launch(t)[1]] for t in range(6)] == [[], [], [], [], [0], [1]]


def test_the_class_probability_is_as_if_it_were_added_to_every_pixel() -> None:
    preset, maps, probs = PRESETS["paper"], torch.rand(25, 12, 16), torch.rand(25)
    found = raw_scores(preset, list(range(25)), maps, probs)
    expected = smooth_max(maps + preset.class_weight * probs[:, None, None], preset.map_filter)
    np.testing.assert_allclose(list(found.values()), expected.tolist(), rtol=1e-6)


def test_mean_pooling_weighs_the_terms() -> None:
    terms = FrameTerms(colour=1.5, abnormal=0.5, gap=3.0, class_prob=float("nan"))
    none = Resident((9, 9), torch.float32, torch.device("cpu")).lend(0)
    for preset, expected in (("release-avenue", 5.0), ("release-shanghaitech", 2.0)):
        stream = RawScore(PRESETS[preset], none)
        assert stream.launch(0) == ([], [])
        assert stream.of_terms(0, terms) == [expected]
        assert stream.finish() == []


def test_mean_pooling_keeps_maps_where_they_are_wanted() -> None:
    """One at a time, each due at once; the score is that of the terms."""
    preset = replace(PRESETS["release-avenue"], class_weight=2.0)
    rows = Resident((9, 9), torch.float32, torch.device("cpu")).lend(1)
    stream = RawScore(preset, rows, maps=True)
    for frame in range(3):
        (row,), (window,) = stream.launch(frame)
        assert window == (frame, (row,))
        assert stream.of_terms(frame, FrameTerms(1.5, 0.5, 3.0, frame / 4)) == [5.0 + frame / 2]
        assert stream.of_maps(window) == frame / 2
    assert stream.finish() == []
    assert rows.free == 1


def test_presets_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="map_filter"):
        replace(PRESETS["paper"], map_filter=(8, 9, 9))
    with pytest.raises(ValueError, match="needs no filter"):
        replace(PRESETS["paper"], pool="mean")
    with pytest.raises(ValueError, match="odd number of taps"):
        Gaussian(taps=4, sigma=1)
