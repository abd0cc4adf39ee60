"""discrepancy_map of one frame, in both precisions; two matrix products are the least it does."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from aedmae_fast.ops import discrepancy_map
from aedmae_fast.ops.discrepancy_map import discrepancy_map_reference
from op_cases.case import SIZES, Case, normals, size_of, torch_baselines

CHANNELS = 128


def cases(device: str) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for name, (height, width, patch) in SIZES.items():
            yield make_case(name, height, width, patch, dtype, device)


def make_case(name: str, height: int, width: int, patch: int, dtype: torch.dtype, device: str) -> Case:
    generator = torch.Generator().manual_seed(0)
    normal = normals(generator, device, dtype)

    tokens, values = height // patch * (width // patch), 4 * patch * patch
    states = [normal(1, tokens, CHANNELS) for _ in range(2)]
    heads = [normal(values, CHANNELS, scale=0.05), normal(values), normal(values, CHANNELS, scale=0.05), normal(values)]
    frames = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8, generator=generator).to(device)
    arguments = (*states, *heads, frames, patch, "L2", (0.4, 0.4, 0.3))
    return Case(
        op="discrepancy_map",
        case=f"{name} {height}x{width} {str(dtype)[6:]}",
        run=lambda: discrepancy_map(*arguments),
        bytes=size_of(*states, *heads, frames) + 4 * (height * width + 3),
        baselines=torch_baselines(discrepancy_map_reference, *arguments),
        operations=2 * 2 * tokens * values * CHANNELS,
        dtype=dtype,
        atol=1e-3 if dtype == torch.float32 else 0.5,  # PyTorch rounds the predictions to bfloat16
    )
