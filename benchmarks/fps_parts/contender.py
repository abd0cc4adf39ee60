"""What is timed: a step that computes some frames, and the way in which a turn's frames are dealt to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from aedmae_fast.config import CHANNELS, WINDOW, ModelConfig
from aedmae_fast.model.masks import mask_bank

OURS = "InferenceModel"  # how our steps are called; of a captured one its name goes on
Step = Callable[[slice], Any]  # computes the frames of one slice of the inputs


@dataclass(frozen=True)
class Inputs:
    """Windows that lie in the device's memory, more than its caches hold; steps read slices of them in turn."""

    config: ModelConfig
    windows: Tensor  # uint8 [N, 3, H, W, 3]
    numbers: Tensor  # int64 [N], of the frames in their clip

    @classmethod
    def of(cls, config: ModelConfig, frames: Tensor, count: int) -> Inputs:
        """``count`` windows of a clip, uint8 [T, H, W, 3], taken over and over."""
        t = torch.arange(count, device=frames.device) % len(frames)
        near = t[:, None] + torch.tensor(WINDOW, device=frames.device)  # [N, 3]
        near = torch.where((near >= 0) & (near < len(frames)), near, t[:, None])
        return cls(config, frames[near], t)

    @property
    def device(self) -> torch.device:
        return self.windows.device

    @cached_property
    def masks(self) -> Tensor:  # int64 [K, L]
        return mask_bank(self.config).to(self.device)

    @cached_property
    def ids(self) -> Tensor:  # int64 [N, L], each window's permutation
        return self.masks[self.numbers % len(self.masks)]

    @cached_property
    def floats(self) -> Tensor:  # float32 [N, 9, H, W], -1..1, channels (frame, colour): the release's layout
        planes = self.windows.permute(0, 1, 4, 2, 3).flatten(1, 2)
        assert planes.shape[1] == len(WINDOW) * CHANNELS
        return planes.float().sub_(127.5).div_(127.5).contiguous()


@dataclass(frozen=True)
class Way:
    """How frames are dealt to a step: batches one after the other, or a batch per thread at the same time."""

    batch: int
    threads: int  # of the CPU that work
    apart: bool = False  # each thread has a batch of its own and single-threaded operations

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.batch} per thread, {threads}" if self.apart else f"batch {self.batch}, {threads}"

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, initializer=partial(torch.set_num_threads, 1))

    def run(self, step: Step, frames: int, device: torch.device) -> float:
        """Seconds for ``frames``, the device's work included."""
        torch.set_num_threads(1 if self.apart else self.threads)
        parts = [slice(start, min(start + self.batch, frames)) for start in range(0, frames, self.batch)]
        started = time.perf_counter()
        if self.apart:
            list(self._pool.map(step, parts))
        else:
            for part in parts:
                step(part)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started


def use_tf32(use: bool) -> None:
    """For all products of PyTorch and cuDNN, whose convolutions take it by default."""
    torch.set_float32_matmul_precision("high" if use else "highest")
    torch.backends.cudnn.allow_tf32 = use


@dataclass(frozen=True)
class Contender:
    """One row of the waterfall."""

    name: str
    precision: str  # fp32, tf32, bf16 or int8
    way: Way
    step: Step
    counts: str  # what is computed
    predict: Step | None = None  # -> the predictions (teacher, student) [b, L, 4*d*d] of a slice; None: not to be had

    def rate(self, frames: int, device: torch.device) -> float:
        """Frames per second of one turn."""
        use_tf32(self.precision == "tf32")
        return frames / self.way.run(self.step, frames, device)
