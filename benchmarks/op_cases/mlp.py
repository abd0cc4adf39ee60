"""mlp of one frame in the encoder and in a decoder, as in every configuration, in both precisions and int8."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from aedmae_fast.engine.precision import dtypes_of
from aedmae_fast.ops import mlp
from aedmae_fast.ops.mlp import mlp_reference
from aedmae_fast.ops.quantize import quantize_weight
from op_cases.case import Case, normals, size_of, torch_baselines

SHAPES = {"encoder": (401, 256, 512), "decoder": (801, 128, 256)}  # N, C, R


def cases(device: str) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for name, shape in SHAPES.items():
            yield make_case(name, *shape, dtype, device)
    for name, shape in SHAPES.items() if device == "cpu" else ():
        yield make_int8_case(name, *shape)


def make_int8_case(name: str, n: int, c: int, r: int) -> Case:
    tensors = inputs(n, c, r, dtypes_of("int8").states, "cpu")
    x, norm_weight, norm_bias, up_weight, up_bias, down_weight, down_bias = tensors
    (up, up_scale), (down, down_scale) = (quantize_weight(w, torch.int8) for w in (up_weight, down_weight))
    quantized = x, norm_weight, norm_bias, up, up_bias, down, down_bias, up_scale, down_scale
    return Case(
        op="mlp",
        case=f"{name} 1x{n}x{c}x{r} int8",
        run=lambda: mlp(*quantized),
        bytes=size_of(*quantized) + size_of(x),
        baselines={"unquantized": lambda: mlp(*tensors)},
        operations=2 * 2 * (n - 1) * c * r,
        dtype=torch.int8,
        atol=0.2,
    )


def make_case(name: str, n: int, c: int, r: int, dtype: torch.dtype, device: str) -> Case:
    tensors = inputs(n, c, r, dtype, device)
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


def inputs(n: int, c: int, r: int, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, ...]:
    normal = normals(torch.Generator().manual_seed(0), device, dtype)

    return (
        normal(1, n, c),
        normal(c),
        normal(c),
        normal(r, c, scale=c**-0.5),
        normal(r),
        normal(c, r, scale=r**-0.5),
        normal(c),
    )
