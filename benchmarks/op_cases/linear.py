"""linear with residual: the output projections of one frame, as in every configuration, in both precisions and int8."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from aedmae_fast.engine.precision import dtypes_of
from aedmae_fast.ops import linear
from aedmae_fast.ops.linear import linear_reference
from aedmae_fast.ops.quantize import quantize_weight
from op_cases.case import Case, normals, size_of, torch_baselines

SHAPES = {"encoder": (401, 256), "decoder": (801, 128)}  # N, C


def cases(device: str) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for name, shape in SHAPES.items():
            yield make_case(name, *shape, dtype, device)
    for name, shape in SHAPES.items() if device == "cpu" else ():
        yield make_int8_case(name, *shape)


def make_int8_case(name: str, n: int, c: int) -> Case:
    x, weight, bias, residual = inputs(n, c, dtypes_of("int8").states, "cpu")
    levels, scale = quantize_weight(weight, torch.int8)
    return Case(
        op="linear",
        case=f"{name} 1x{n}x{c} int8",
        run=lambda: linear(x, levels, bias, residual, scale),
        bytes=size_of(x, levels, bias, residual, scale) + size_of(x),
        baselines={"unquantized": lambda: linear(x, weight, bias, residual)},
        operations=2 * n * c * c,
        dtype=torch.int8,
        atol=0.1,
    )


def make_case(name: str, n: int, c: int, dtype: torch.dtype, device: str) -> Case:
    tensors = inputs(n, c, dtype, device)
    return Case(
        op="linear",
        case=f"{name} 1x{n}x{c} {str(dtype)[6:]}",
        run=lambda: linear(*tensors),
        bytes=size_of(*tensors) + size_of(tensors[0]),
        baselines=torch_baselines(linear_reference, *tensors),
        operations=2 * n * c * c,
        dtype=dtype,
        atol=1e-5 if dtype == torch.float32 else 0.1,  # PyTorch rounds the product before the sum
    )


def inputs(n: int, c: int, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, ...]:
    normal = normals(torch.Generator().manual_seed(0), device, dtype)

    return normal(1, n, c), normal(c, c, scale=c**-0.5), normal(c), normal(1, n, c)
