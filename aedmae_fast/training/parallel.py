"""Several processes that train one network, as ``torchrun`` starts them: who am I, and statistics over the joint batch.

DistributedDataParallel averages the gradients. BatchNorm is the rest: torch's SyncBatchNorm does not run on CPUs, so
:class:`JointBatchNorm2d` stands in for it everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(days=7)  # the others wait while the first process decodes what may be days of video


class Place(NamedTuple):
    """This process among those that train together."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # on this machine: which GPU is its own

    @property
    def first(self) -> bool:
        """The one that writes and speaks."""
        return self.rank == 0


def place_from_environment() -> Place:
    """What ``torchrun`` says; alone without it."""
    environment = os.environ
    return Place(
        rank=int(environment.get("RANK", 0)),
        world=int(environment.get("WORLD_SIZE", 1)),
        local_rank=int(environment.get("LOCAL_RANK", 0)),
    )


@contextmanager
def process_group(place: Place, device: torch.device) -> Iterator[None]:
    """Connect the processes for as long as the context lasts: NCCL between GPUs, gloo between CPUs."""
    if place.world == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # or every process's collectives would meet on the first GPU
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, rank=place.rank, world_size=place.world)
    try:
        yield
    finally:
        dist.destroy_process_group()


def barrier(place: Place) -> None:
    """Wait for the other processes."""
    if place.world > 1:
        dist.barrier()


def require_same(identity: dict[str, Any], place: Place) -> None:
    """Raises ValueError, in all processes, where they are not about to train the same."""
    if place.world == 1:
        return
    found: list[dict[str, Any]] = [{}] * place.world
    dist.all_gather_object(found, identity)
    first = found[0]
    for rank, other in enumerate(found):
        if differing := [f"{key}: {first[key]!r} and {other[key]!r}" for key in other if other[key] != first[key]]:
            raise ValueError(
                f"processes 0 and {rank} would train different things: {'; '.join(differing)}; where it is the data,"
                " one could not read a video: try again, or with --cache disk, for which one process reads them for all"
            )


def mean_over_processes(values: Tensor, place: Place) -> Tensor:
    """Element-wise mean of the processes' tensors, on all of them."""
    if place.world > 1:
        dist.all_reduce(values)
        values /= place.world
    return values


def join_batch_norms(model: nn.Module) -> None:
    """Let every BatchNorm2d take its statistics from all processes' batches; names and weights stay."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = JointBatchNorm2d


class JointBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm whose training statistics are over the joint batch. All processes' parts must be of one size."""

    def forward(self, x: Tensor) -> Tensor:  # [B, C, h, w]
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        count = x.numel() // x.shape[1] * dist.get_world_size()
        values = x.float()
        mean = _Sum.apply(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            momentum = self.momentum or 0.1
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum of the processes' tensors. Each process's loss depends on it, so their gradients add up likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
