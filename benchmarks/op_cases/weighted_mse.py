"""The teacher's weighted loss with all that goes with it, forward and backward, beside the training step it is in.

Token weights from the motion, the target in patches, the loss and its gradient; ``step`` is the whole of a teacher's
step (network, loss, backward, optimizer), which gives the same loss and gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from aedmae_fast.config import CONFIGS, ModelConfig
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import patch_weights
from aedmae_fast.training.losses import patch_target, teacher_loss
from op_cases.case import Case, size_of

NETWORKS = {  # name -> configuration, batch size
    "ped2, patch 8": (replace(CONFIGS["ped2"], height=80, width=160, patch=8), 32),
    "avenue": (CONFIGS["avenue"], 8),
}


def cases(device: str) -> Iterator[Case]:
    for name, (config, batch) in NETWORKS.items():
        yield make_case(name, replace(config, dropout=0.0), batch, device)


def make_case(name: str, config: ModelConfig, batch: int, device: str) -> Case:
    torch.manual_seed(0)
    size = batch, config.height, config.width
    frames, gradient = (torch.randint(0, 256, (*size, 3), dtype=torch.uint8, device=device) for _ in range(2))
    anomaly = torch.zeros(size, dtype=torch.uint8, device=device)
    anomaly[::4, : config.height // 4, : config.width // 4] = 255  # in a quarter of the frames
    windows = frames[:, None].expand(-1, 3, -1, -1, -1).contiguous()
    ids_shuffle = torch.rand(batch, config.tokens, device=device).argsort(dim=1)
    model = AedMae(config).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)  # all of its work, and the weights stay as they are
    predicted = model(windows, ids_shuffle, False).teacher.detach()

    def weighted_mse(prediction: Tensor) -> Tensor:
        weights = patch_weights(gradient, config.patch, anomaly)
        return teacher_loss(prediction, patch_target(frames, anomaly, config.patch), weights) / batch

    def step() -> tuple[Tensor, Tensor]:
        prediction = model(windows, ids_shuffle, False).teacher
        prediction.retain_grad()
        loss = weighted_mse(prediction)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        assert prediction.grad is not None
        return loss.detach(), prediction.grad

    return Case(
        op="weighted_mse",
        case=f"{name}, {batch}x{config.height}x{config.width}",
        run=both_ways(weighted_mse, predicted),
        bytes=size_of(frames, gradient, anomaly) + 2 * size_of(predicted),  # the gradient is as large
        baselines={
            "compile": both_ways(torch.compile(weighted_mse, fullgraph=True, dynamic=False), predicted),
            "step": step,
        },
        atol=1e-5,
    )


def both_ways(loss: Callable[[Tensor], Tensor], prediction: Tensor) -> Callable[[], Any]:
    """A call that gives the loss of a prediction, and its gradient."""

    def run() -> tuple[Tensor, Tensor]:
        leaf = prediction.detach().requires_grad_()
        value = loss(leaf)
        value.backward()
        assert leaf.grad is not None
        return value.detach(), leaf.grad

    return run
