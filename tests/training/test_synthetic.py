"""Synthetic anomalies: clean targets, exact maps, coherent over the five frames, a function of the seed."""

from __future__ import annotations

import numpy as np
import pytest

from aedmae_fast.training.objects import Cutouts, cut_objects
from aedmae_fast.training.synthetic import ProceduralAnomalies, Sample, _in_colours, synthesise
from aedmae_fast.training.things import AFTER, BEFORE, MIDDLE, OFFSETS, Bytes, Thing, paste
from tests.training.scenes import make_clip

CLIP = make_clip()
CUTOUTS = cut_objects([CLIP], seed=0)
STILL = cut_objects([np.repeat(CLIP[:1], 12, axis=0)], seed=0)
FRAMES: Bytes = CLIP[[20 + offset for offset in OFFSETS]]


def draw(seed: int, anomaly: float, normal: float, cutouts: Cutouts = CUTOUTS) -> Sample:
    rng = np.random.default_rng(seed)
    return synthesise(FRAMES, 0, ProceduralAnomalies(cutouts), cutouts, rng, anomaly, normal)


@pytest.mark.parametrize("cutouts", [CUTOUTS, STILL], ids=["moving", "still"])
def test_an_anomaly_leaves_the_target_clean_and_its_map_is_where_pixels_changed(cutouts: Cutouts) -> None:
    samples = [draw(seed, anomaly=1, normal=0, cutouts=cutouts) for seed in range(40)]
    for sample in samples:
        np.testing.assert_array_equal(sample.target, FRAMES[MIDDLE])
        changed = (sample.frames[MIDDLE] != FRAMES[MIDDLE]).any(axis=-1)
        np.testing.assert_array_equal(sample.anomaly_map, np.where(changed, 255, 0))
    assert sum(sample.anomaly_map.any() for sample in samples) >= 38  # some may miss the frame


def test_a_normal_paste_is_part_of_the_target() -> None:
    samples = [draw(seed, anomaly=0, normal=1) for seed in range(10)]
    for sample in samples:
        np.testing.assert_array_equal(sample.target, sample.frames[MIDDLE])
        assert not sample.anomaly_map.any()
    assert sum((sample.target != FRAMES[MIDDLE]).any() for sample in samples) > 5


def test_without_pastes_nothing_changes_and_the_input_never_does() -> None:
    before = FRAMES.copy()
    np.testing.assert_array_equal(draw(0, anomaly=0, normal=0).frames, FRAMES)
    draw(0, anomaly=1, normal=1)
    np.testing.assert_array_equal(FRAMES, before)


def test_shares_are_probabilities() -> None:
    abnormal = np.mean([draw(seed, anomaly=0.25, normal=0).anomaly_map.any() for seed in range(400)])
    assert 0.18 < abnormal < 0.32


def test_the_seed_decides() -> None:
    for one, same in zip(draw(3, 1, 1), draw(3, 1, 1), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(draw(3, 1, 0).frames, draw(4, 1, 0).frames)


@pytest.mark.parametrize("kind", ["_fast", "_large", "_dressed", "_misplaced", "_shape"])
def test_anomalies_move_steadily_over_all_five_frames(kind: str) -> None:
    """On black ground, the centre of what is drawn advances by velocity times offset, in window and gradient alike."""
    rows, columns = np.mgrid[0:200, 0:300] + 0.5
    for seed in range(8):
        placed = getattr(ProceduralAnomalies(CUTOUTS), kind)(0, np.random.default_rng(seed))
        thing = Thing(placed.thing.crops.copy(), placed.thing.path)  # crops may be views of the cutouts
        expected = np.array(OFFSETS)[:, None] * thing.velocity
        np.testing.assert_allclose(thing.path - thing.centre, expected, atol=1e-4, rtol=0)
        thing.crops[..., :3] = 255
        thing.path[:] += (100 - thing.centre[0], 150 - thing.centre[1])
        canvas = np.zeros((len(OFFSETS), 200, 300, 3), np.uint8)
        paste(canvas, thing, placed.scale)
        light = canvas[..., 0].astype(float)
        seen = np.array([((m * rows).sum() / m.sum(), (m * columns).sum() / m.sum()) for m in light])
        assert np.abs(seen - seen[MIDDLE] - expected).max() < 1.5  # a walker's own silhouette changes a little


def test_the_gradient_sees_a_fast_thing() -> None:
    placed = ProceduralAnomalies(CUTOUTS)._fast(0, np.random.default_rng(0))
    frames = FRAMES.copy()
    paste(frames, placed.thing, placed.scale)
    before = np.abs(FRAMES[BEFORE].astype(int) - FRAMES[AFTER]).sum()
    assert np.abs(frames[BEFORE].astype(int) - frames[AFTER]).sum() > 1.2 * before


def test_misplaced_things_are_where_nothing_moved() -> None:
    for seed in range(20):
        row, column = ProceduralAnomalies(CUTOUTS)._misplaced(0, np.random.default_rng(seed)).thing.centre.astype(int)
        assert not CUTOUTS.trodden[0, row, column]


@pytest.mark.parametrize(("kind", "cutouts"), [("_misplaced", CUTOUTS), ("_shape", STILL)])
def test_with_a_region_anomalies_are_placed_in_it(kind: str, cutouts: Cutouts) -> None:
    """Outside they would be hidden, and a frame that was to have one would have none."""
    inside = np.zeros(FRAMES.shape[1:3], np.bool_)
    inside[: len(inside) // 3, :20] = True
    source = ProceduralAnomalies(cutouts, inside)
    for seed in range(50):
        row, column = getattr(source, kind)(0, np.random.default_rng(seed)).thing.centre.astype(int)
        assert inside[row, column]


def apart(pixels: Bytes) -> int:
    """Most levels between two channels of a pixel."""
    return int(np.ptp(pixels, axis=-1).max())


def test_in_a_grey_video_every_anomaly_is_grey() -> None:
    """Or its colour would be all that a network learns."""
    clip = np.repeat(CLIP[..., :1], 3, axis=-1)
    cutouts, frames = cut_objects([clip], seed=0), clip[[20 + offset for offset in OFFSETS]]
    assert cutouts.colour == (0.0,)
    assert any(
        apart(ProceduralAnomalies(cutouts)._shape(0, np.random.default_rng(i)).thing.crops[..., :3]) for i in range(5)
    )
    for seed in range(40):
        rng = np.random.default_rng(seed)
        assert apart(synthesise(frames, 0, ProceduralAnomalies(cutouts), cutouts, rng, 1, 1).frames) == 0


def test_anomalies_have_the_colour_that_their_scene_allows() -> None:
    (allowed,) = CUTOUTS.colour
    assert 50 < allowed < 150  # three times the ground's
    thing = ProceduralAnomalies(CUTOUTS)._shape(0, np.random.default_rng(1)).thing
    thing.crops[:, 2:4, 2:4, :3] = (0, 100, 250)
    assert _in_colours(thing, 250) is thing
    muted = _in_colours(thing, 125)
    assert apart(muted.crops[..., :3]) == 125
    np.testing.assert_allclose(muted.crops[..., :3].mean(-1), thing.crops[..., :3].mean(-1), atol=0.5)
    np.testing.assert_array_equal(muted.crops[..., 3], thing.crops[..., 3])
