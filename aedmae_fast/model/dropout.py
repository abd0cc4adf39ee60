"""Dropout that costs little on a CPU, where PyTorch draws a float32 an element: an eighth of a training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 1 << 16  # of a random number of 16 bits


class Dropout(nn.Dropout):
    """``nn.Dropout``; on a CPU 64 random bits do for four elements, and ``p`` is rounded to 1/65536."""

    def forward(self, x: Tensor) -> Tensor:  # any shape -> the same
        if not self.training or self.p in (0, 1) or x.device.type != "cpu":
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        uniform = bits.view(torch.int16)[: x.numel()].view(x.shape)
        kept = uniform >= round(self.p * LEVELS) - LEVELS // 2
        return x * kept.to(x.dtype).div_(1.0 - self.p)
