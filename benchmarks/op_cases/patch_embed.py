"""patch_embed of one window, in both precisions and int8."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from aedmae_fast.engine.precision import dtypes_of
from aedmae_fast.ops import patch_embed
from aedmae_fast.ops.patch_embed import patch_embed_reference
from aedmae_fast.ops.quantize import quantize_weight
from op_cases.case import SIZES, Case, normals, size_of, torch_baselines

CHANNELS = 256


def cases(device: str) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for name, (height, width, patch) in SIZES.items():
            yield make_case(name, height, width, patch, dtype, device)
    for name, (height, width, patch) in SIZES.items() if device == "cpu" else ():
        yield make_int8_case(name, height, width, patch)


def make_int8_case(name: str, height: int, width: int, patch: int) -> Case:
    windows, parameters = inputs(height, width, patch, dtypes_of("int8").states, "cpu")
    levels, scale = quantize_weight(parameters[0], torch.int8)
    quantized = levels, *parameters[1:]
    tokens, values = windows[2].numel(), levels.shape[1]
    return Case(
        op="patch_embed",
        case=f"{name} {height}x{width} int8",
        run=lambda: patch_embed(*windows, *quantized, patch, scale),
        bytes=tokens * values + size_of(*quantized, scale) + tokens * size_of(parameters[1]),
        baselines={"unquantized": lambda: patch_embed(*windows, *parameters, patch)},
        operations=2 * tokens * values * CHANNELS,
        dtype=torch.int8,
        atol=0.25,
    )


def make_case(name: str, height: int, width: int, patch: int, dtype: torch.dtype, device: str) -> Case:
    windows, parameters = inputs(height, width, patch, dtype, device)
    arguments = (*windows, *parameters, patch)
    tokens, values = height // patch * (width // patch), 9 * patch * patch
    out = tokens // 2 * CHANNELS * parameters[0].element_size()
    return Case(
        op="patch_embed",
        case=f"{name} {height}x{width} {str(dtype)[6:]}",
        run=lambda: patch_embed(*arguments),
        bytes=tokens // 2 * values + size_of(*parameters) + out,
        baselines=torch_baselines(patch_embed_reference, *arguments),
        operations=2 * tokens // 2 * values * CHANNELS,
        dtype=dtype,
        atol=1e-4 if dtype == torch.float32 else 0.125,  # PyTorch rounds the tokens before the norm
    )


def inputs(
    height: int, width: int, patch: int, dtype: torch.dtype, device: str
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Frames, windows and visible tokens; and the parameters."""
    generator = torch.Generator().manual_seed(0)
    normal = normals(generator, device, dtype)

    tokens, values = height // patch * (width // patch), 9 * patch * patch
    frames = torch.randint(0, 256, (7, height, width, 3), dtype=torch.uint8, generator=generator).to(device)
    windows = torch.tensor([[0, 3, 6]], device=device)
    ids_keep = torch.randperm(tokens, generator=generator)[None, : tokens // 2].to(device)
    parameters = normal(CHANNELS, values, scale=values**-0.5 / 127.5), normal(CHANNELS), *(normal(CHANNELS),) * 2
    return (frames, windows, ids_keep), parameters
