"""The loop: both phases, epoch by epoch, from where the state file left off.

On the CPU in fp32 a run that was killed and resumed ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aedmae_fast.model.network import AedMae, Output
from aedmae_fast.training.data import Batch, Loader
from aedmae_fast.training.parallel import Place, join_batch_norms, mean_over_processes, require_same
from aedmae_fast.training.phases import Phase, StudentPhase, TeacherPhase
from aedmae_fast.training.settings import TrainSettings
from aedmae_fast.training.state import STATE_FILE, State, load_state, save_state

DROPOUT = 2  # what a generator is for, beside data.ORDER and data.SAMPLE


@dataclass
class Hooks:
    """What the caller is told. Called in the first process only."""

    on_step: Callable[[int], None] = lambda frames: None  # frames of all processes
    on_epoch: Callable[[State, AedMae], None] = lambda state, model: None  # after the state was saved


@dataclass
class Trainer:
    """Trains one network in place.

    Args:
        model: a network in float32, on ``device``.
        loader: batches of this process.
        run: folder of the state file; it must exist.
        identity: data, network and settings by name; a run resumes only where all are the same.
        precision: ``fp32``, or ``bf16`` for autocast (weights, losses and optimizer stay in float32).
    """

    model: AedMae
    loader: Loader
    settings: TrainSettings
    run: Path
    identity: dict[str, Any]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    place: Place = field(default_factory=Place)
    hooks: Hooks = field(default_factory=Hooks)

    def train(self, resume: bool = False) -> AedMae:
        """Run what is left of the schedule; returns the trained network, in evaluation mode.

        Raises:
            ResumeError: nothing to resume, or a run with other settings.
            ValueError: another process has other settings or data.
            FloatingPointError: the loss is not finite.
        """
        require_same(self.identity, self.place)
        state = load_state(self.run / STATE_FILE, self.identity) if resume else State(self.identity)
        if state.weights:
            self.model.load_state_dict(state.weights)
        if self.place.world > 1:
            join_batch_norms(self.model)
        patch = self.model.config.patch
        phases: tuple[Phase, ...] = (
            TeacherPhase(self.settings, patch),
            StudentPhase(self.settings, patch, self.model.config.kept),
        )
        for number, phase in enumerate(phases):
            if number >= state.phase and phase.epochs:
                self._run_phase(number, phase, state)
        return self.model.requires_grad_(True).eval()

    def _run_phase(self, number: int, phase: Phase, state: State) -> None:
        if number > state.phase:
            state.phase, state.epoch, state.optimizer, state.average = number, 0, {}, {}
        parameters = phase.prepare(self.model)
        optimizer = make_optimizer(parameters, self.settings)
        average = self._average()
        if state.optimizer:
            optimizer.load_state_dict(state.optimizer)
        if state.average and average is not None:
            average.load_state_dict(state.average)
        network = self._parallel()
        for epoch in range(state.epoch, phase.epochs):
            row = self._epoch(phase, epoch, network, optimizer, average)
            state.history.append(row)
            state.epoch = epoch + 1
            if state.epoch == phase.epochs and average is not None:
                self.model.load_state_dict(average.module.state_dict())
            if self.place.first:
                state.weights, state.optimizer = self.model.state_dict(), optimizer.state_dict()
                state.average = {} if average is None else average.state_dict()
                save_state(state, self.run / STATE_FILE)
                self.hooks.on_epoch(state, self.model if average is None else cast(AedMae, average.module))

    def _epoch(
        self,
        phase: Phase,
        epoch: int,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: AveragedModel | None,
    ) -> dict[str, Any]:
        """One pass over the data; returns its row of the log."""
        started = time.perf_counter()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        steps = self.loader.steps
        counted = epoch + (self.settings.teacher_epochs if phase.name == "student" else 0)
        lr = 0.0
        for i, batch in enumerate(self._batches(counted)):
            lr = learning_rate(epoch * steps + i, phase.epochs * steps, steps, self.settings)
            for group in optimizer.param_groups:
                group["lr"] = lr
            torch.manual_seed(self._dropout_seed(counted, i))
            with self._autocast():
                output: Output = network(batch.windows, batch.ids_shuffle, phase.student)
            losses = phase.losses(output, batch)
            optimizer.zero_grad(set_to_none=True)
            losses["total"].backward()
            if self.settings.clip_norm:
                nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], self.settings.clip_norm)
            optimizer.step()
            if average is not None:
                average.update_parameters(self.model)
            for name, value in losses.items():
                sums[name] += value.detach()
            if self.place.first:
                self.hooks.on_step(self.settings.batch_size)
        names = sorted(sums)
        means = (mean_over_processes(torch.stack([sums[name] for name in names]), self.place) / steps).tolist()
        seconds = time.perf_counter() - started
        row = {"phase": phase.name, "epoch": epoch + 1, "lr": lr, **dict(zip(names, means, strict=True))}
        if not math.isfinite(row["total"]):
            raise FloatingPointError(
                f"{phase.name} epoch {epoch + 1}: the loss is {row['total']}; start again with a lower --lr"
            )
        return {**row, "seconds": seconds, "frames_per_second": steps * self.settings.batch_size / seconds}

    def _batches(self, epoch: int) -> Iterator[Batch]:
        for batch in self.loader.epoch(epoch):
            yield batch.to(self.device)

    def _average(self) -> AveragedModel | None:
        """Averages of weights and BatchNorm statistics, where they are asked for."""
        if not self.settings.ema:
            return None
        return AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.settings.ema), use_buffers=True)

    def _parallel(self) -> nn.Module:
        if self.place.world == 1:
            return self.model
        # Depth-wise weights have gradients of other strides than DDP's buckets: a copy of a few kB, not worth a word.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        return DistributedDataParallel(self.model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def _dropout_seed(self, epoch: int, step: int) -> int:
        """Dropout's generator starts anew in each step, another stream in each process."""
        sequence = np.random.SeedSequence([self.settings.seed, epoch, DROPOUT, step, self.place.rank])
        return int(sequence.generate_state(1)[0])


def make_optimizer(parameters: list[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Adam as in the paper, AdamW as in the release."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=settings.lr)
    return torch.optim.AdamW(parameters, lr=settings.lr, betas=(0.9, 0.95), weight_decay=0.05)


def learning_rate(step: int, steps: int, steps_per_epoch: int, settings: TrainSettings) -> float:
    """Learning rate of step ``step`` of a phase of ``steps``: a linear rise, then constant or half a cosine to 0."""
    rise = round(settings.warmup_epochs * steps_per_epoch)
    if step < rise:
        return settings.lr * (step + 1) / rise
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
