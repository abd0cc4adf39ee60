"""mlp of one frame in the encoder and in a decoder, the same in every configuration, in both precisions."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from aedmae_fast.ops import mlp
from aedmae_fast.ops.mlp import mlp_reference
from op_cases.case import Case, size_of, torch_baselines

SHAPES = {"encoder": (401, 256, 512), "decoder": (801, 128, 256)}  # N, C, R


def cases(device: str) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for name, shape in SHAPES.items():
            yield make_case(name, *shape, dtype, device)


def make_case(name: str, n: int, c: int, r: int, dtype: torch.dtype, device: str) -> Case:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * scale).to(device, dtype)

    tensors = (
        normal(1, n, c),
        normal(c),
        normal(c),
        normal(r, c, scale=c**-0.5),
        normal(r),
        normal(c, r, scale=r**-0.5),
        normal(c),
    )
    return Case(
        op="mlp",
        case=f"{name} 1x{n}x{c}x{r} {str(dtype)[6:]}",
        run=lambda: mlp(*tensors),
        bytes=size_of(*tensors) + size_of(tensors[0]),
        baselines=torch_baselines(mlp_reference, *tensors),
        operations=2 * 2 * (n - 1) * c * r,
        dtype=dtype,
        atol=1e-4 if dtype == torch.float32 else 0.125,  # PyTorch rounds the norm, both layers and the sum
    )
