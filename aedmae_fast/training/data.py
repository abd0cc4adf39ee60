"""From cached clips to batches: in which order, with which anomalies, built ahead of the step.

All chance comes from (seed, epoch) for the order and (seed, epoch, frame) for a sample. So a batch does not depend on
the number of threads or processes, or on a restart, and no generator's state has to be saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aedmae_fast.config import CHANNELS, WINDOW, ModelConfig
from aedmae_fast.model.region import Region
from aedmae_fast.training.light import in_another_light
from aedmae_fast.training.mirror import in_a_mirror
from aedmae_fast.training.objects import Cutouts
from aedmae_fast.training.settings import TrainSettings
from aedmae_fast.training.synthetic import AnomalySource, Sample, synthesise
from aedmae_fast.training.things import AFTER, BEFORE, IN_WINDOW, MIDDLE, OFFSETS, Bytes

ORDER, SAMPLE = 0, 1  # what a generator is for: keeps their streams apart
AHEAD = 2  # batches that may wait, per thread


class Batch(NamedTuple):
    """Training samples of B frames."""

    windows: Tensor  # uint8 [B, 3, H, W, 3]: t-3, t, t+3 with everything pasted, BGR
    target: Tensor  # uint8 [B, H, W, 3]: frame t without the anomaly
    gradient: Tensor  # uint8 [B, H, W, 3]: |x_{t-1} - x_{t+1}| with everything pasted, at the model's size
    anomaly_map: Tensor  # uint8 [B, H, W]: 255 where frame t is abnormal, else 0
    abnormal: Tensor  # bool [B]: any of it is
    ids_shuffle: Tensor  # int64 [B, L]: a random permutation; the first ``config.kept`` are visible

    def to(self, device: torch.device) -> Batch:
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


@dataclass(frozen=True)
class TrainingFrames:
    """Every frame of every clip as a training sample."""

    clips: Sequence[Bytes]  # [T, H, W, 3] each
    cutouts: Cutouts
    source: AnomalySource
    config: ModelConfig
    settings: TrainSettings
    region: Region | None = None  # outside of it clips are black, and nothing is pasted

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Frames up to the end of each clip."""
        return np.cumsum([len(frames) for frames in self.clips])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def sample(self, index: int, epoch: int) -> tuple[Sample, NDArray[np.int64]]:
        """Frame ``index``, counted through all clips, and its mask, as they are in ``epoch``."""
        clip, t = self._locate(index)
        frames = self.clips[clip]
        at = [t + offset if 0 <= t + offset < len(frames) else t for offset in OFFSETS]  # missing neighbours: t itself
        rng = np.random.default_rng([self.settings.seed, epoch, SAMPLE, index])
        ids_shuffle = rng.permutation(self.config.tokens)
        sample = synthesise(
            frames[at],
            self.cutouts.scene_of[clip],
            self.source,
            self.cutouts,
            rng,
            self.settings.anomaly_share,
            self.settings.normal_share,
        )
        sample = in_another_light(sample, self.settings.light, rng)
        if self.region is not None:
            sample = within(self.region, sample)
        sample = in_a_mirror(sample, self.settings.mirror, rng)
        for i, offset in enumerate(OFFSETS):
            if offset and at[i] == t:  # missing: frame t itself, with all that was pasted
                sample.frames[i] = sample.frames[MIDDLE]
        return sample, ids_shuffle

    def batch(self, indices: Sequence[int], epoch: int) -> Batch:
        """The samples of these frames, counted over all clips, as they are in this epoch.

        Raises:
            IndexError: there is no such frame.
        """
        count, size = len(indices), (self.config.height, self.config.width)
        windows = np.empty((count, len(WINDOW), *size, CHANNELS), np.uint8)
        target, gradient = (np.empty((count, *size, CHANNELS), np.uint8) for _ in range(2))
        anomaly_map = np.empty((count, *size), np.uint8)
        ids_shuffle = np.empty((count, self.config.tokens), np.int64)
        for row, index in enumerate(indices):
            sample, ids_shuffle[row] = self.sample(index, epoch)
            before, after = sample.frames[BEFORE], sample.frames[AFTER]
            windows[row] = sample.frames[IN_WINDOW]
            target[row] = sample.target
            gradient[row] = np.maximum(before, after) - np.minimum(before, after)  # ops.motion_gradient's "release"
            anomaly_map[row] = sample.anomaly_map
        abnormal = anomaly_map.any(axis=(1, 2))
        return Batch(*map(torch.from_numpy, (windows, target, gradient, anomaly_map, abnormal, ids_shuffle)))

    def with_shares(self, anomaly: float, normal: float) -> TrainingFrames:
        """The same frames with other probabilities of a paste."""
        return replace(self, settings=replace(self.settings, anomaly_share=anomaly, normal_share=normal))

    def _locate(self, index: int) -> tuple[int, int]:
        if index >= len(self):
            raise IndexError(f"index: expected below {len(self)}, found {index}")
        clip = int(np.searchsorted(self._ends, index, side="right"))
        return clip, index - int(self._ends[clip]) + len(self.clips[clip])


def within(region: Region, sample: Sample) -> Sample:
    """A sample whose pastes end at the region's border."""
    inside = region.inside.numpy()
    frames, target = sample.frames.copy(), sample.target.copy()
    region.hide(torch.from_numpy(frames))
    region.hide(torch.from_numpy(target))
    return Sample(frames, target, sample.anomaly_map * inside)


class Loader:
    """Batches of an epoch, built ahead by threads.

    Args:
        batch_size: frames of all processes together; what is left over at the end of an epoch is dropped (another
            order in each epoch drops other frames).
        rank, world: which part of each batch is this process's.
        pin: put batches into page-locked memory, for copies to a GPU.
    """

    def __init__(
        self,
        frames: TrainingFrames,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 1,
        pin: bool = False,
    ) -> None:
        if batch_size % world:
            raise ValueError(f"batch_size: {batch_size} does not divide among {world} processes")
        self._frames, self._batch_size = frames, batch_size
        self._rank, self._world, self._workers, self._pin = rank, world, workers, pin

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return len(self._frames) // self._batch_size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """This process's part of each batch of an epoch, counted from 0 over both phases, in the epoch's own order."""
        order = np.random.default_rng([self._frames.settings.seed, epoch, ORDER]).permutation(len(self._frames))
        batches = order[: self.steps * self._batch_size].reshape(self.steps, self._batch_size)
        waiting: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="batch")
        try:
            for indices in batches[:, self._rank :: self._world].tolist():
                waiting.append(pool.submit(self._build, indices, epoch))
                if len(waiting) > AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _build(self, indices: list[int], epoch: int) -> Batch:
        batch = self._frames.batch(indices, epoch)
        return Batch(*(tensor.pin_memory() for tensor in batch)) if self._pin else batch
