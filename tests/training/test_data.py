"""Samples and batches: clip boundaries, determinism, shares of processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aedmae_fast.model.region import Region
from aedmae_fast.ops import motion_gradient
from aedmae_fast.training.data import Batch, Loader
from aedmae_fast.training.settings import TrainSettings
from tests.conftest import TINY
from tests.training.scenes import training_frames

PASTING = TrainSettings(anomaly_share=0.5, normal_share=0.5, seed=3)
CLEAN = TrainSettings(anomaly_share=0, normal_share=0)


def assert_same(one: Batch, other: Batch) -> None:
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


def test_windows_and_gradient_stop_at_the_clips_ends() -> None:
    frames = training_frames(CLEAN)
    first, second = (torch.from_numpy(clip) for clip in frames.clips)
    end = len(first)
    batch = frames.batch([0, 10, end - 1, end], epoch=0)
    for row, (clip, at) in enumerate(
        [(first, (0, 0, 3)), (first, (7, 10, 13)), (first, (end - 4, end - 1, end - 1)), (second, (0, 0, 3))]
    ):
        assert torch.equal(batch.windows[row], clip[list(at)])
        assert torch.equal(batch.target[row], clip[at[1]])
    gradient = torch.cat([motion_gradient(first), motion_gradient(second)])
    assert torch.equal(batch.gradient, gradient[[0, 10, end - 1, end]])
    assert not batch.abnormal.any()
    with pytest.raises(IndexError, match="expected below 80, found 80"):
        frames.batch([2 * end], epoch=0)


def test_a_missing_neighbour_shows_frame_t_with_its_anomaly() -> None:
    frames = training_frames(TrainSettings(anomaly_share=1))
    for epoch in range(5):
        batch = frames.batch([0], epoch)
        assert torch.equal(batch.windows[0, 0], batch.windows[0, 1])


def test_masks_are_permutations_of_their_own() -> None:
    ids = training_frames(CLEAN).batch([4, 5], epoch=0).ids_shuffle
    assert torch.equal(ids.sort(dim=1).values, torch.arange(TINY.tokens).expand(2, -1))
    assert not torch.equal(ids[0], ids[1])


def test_a_sample_depends_on_seed_epoch_and_frame_only() -> None:
    frames = training_frames(PASTING)
    alone, together = frames.batch([5], 1), frames.batch([7, 5, 9], 1)
    assert_same(alone, Batch(*(tensor[1:2] for tensor in together)))
    assert not torch.equal(alone.ids_shuffle, frames.batch([5], 2).ids_shuffle)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_epoch_is_the_same_with_any_number_of_threads(workers: int) -> None:
    frames = training_frames(PASTING)
    expected = list(Loader(frames, 16).epoch(2))
    found = list(Loader(frames, 16, workers=workers).epoch(2))
    assert len(found) == Loader(frames, 16).steps == len(frames) // 16
    for one, other in zip(expected, found, strict=True):
        assert_same(one, other)


def test_an_epoch_shows_each_frame_once_in_another_order() -> None:
    frames = training_frames(CLEAN)
    orders = []
    for epoch in (0, 1):
        shown = torch.cat([batch.target for batch in Loader(frames, 8).epoch(epoch)]).numpy()
        orders.append([frame.tobytes() for frame in shown])
    every = sorted(frame.tobytes() for clip in frames.clips for frame in clip)
    assert sorted(orders[0]) == sorted(orders[1]) == every
    assert orders[0] != orders[1]


def test_processes_share_a_batch() -> None:
    frames = training_frames(PASTING)
    joint = next(iter(Loader(frames, 8).epoch(0)))
    parts = [next(iter(Loader(frames, 8, rank=rank, world=2).epoch(0))) for rank in range(2)]
    for whole, *halves in zip(joint, *parts, strict=True):
        assert torch.equal(whole, torch.stack(halves, dim=1).flatten(0, 1))
    with pytest.raises(ValueError, match="8 does not divide among 3 processes"):
        Loader(frames, 8, world=3)


def test_nothing_is_pasted_outside_of_the_region() -> None:
    inside = torch.zeros(TINY.height, TINY.width, dtype=torch.bool)
    inside[:, :32] = True
    whole = training_frames(TrainSettings(anomaly_share=1, normal_share=1))
    region = Region(inside)
    for clip in whole.clips:
        region.hide(torch.from_numpy(clip))  # as load_clips does
    part = replace(whole, region=region)
    indices = list(range(0, len(whole), 4))
    everywhere, there = whole.batch(indices, 0), part.batch(indices, 0)
    for tensor in (there.windows, there.target, there.gradient):
        assert not tensor[..., 32:, :].any()
    assert not there.anomaly_map[..., 32:].any()
    assert everywhere.anomaly_map[..., 32:].any()
    assert torch.equal(there.windows[..., :32, :], everywhere.windows[..., :32, :])
    assert torch.equal(there.anomaly_map[..., :32], everywhere.anomaly_map[..., :32])
    assert torch.equal(there.abnormal, everywhere.anomaly_map[..., :32].flatten(1).any(1))
    assert 0 < there.abnormal.sum() < everywhere.abnormal.sum()


def test_a_failing_batch_is_the_consumers_error(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = training_frames(CLEAN)
    monkeypatch.setattr(type(frames), "batch", lambda *_: np.full(1, 0)[3])
    with pytest.raises(IndexError):
        list(Loader(frames, 8).epoch(0))
