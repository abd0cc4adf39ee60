"""dwconv_qkv of one frame in the encoder and in a decoder, as in every configuration, in both precisions and int8."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from aedmae_fast.engine.precision import dtypes_of
from aedmae_fast.ops import dwconv_qkv
from aedmae_fast.ops.dwconv_qkv import dwconv_qkv_reference
from aedmae_fast.ops.quantize import quantize_weight
from op_cases.case import Case, normals, size_of, torch_baselines

SHAPES = {"encoder": (256, 20, 20), "decoder": (128, 20, 40)}  # C, rows, columns


def cases(device: str) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        for name, shape in SHAPES.items():
            yield make_case(name, *shape, dtype, device)
    for name, shape in SHAPES.items() if device == "cpu" else ():
        yield make_int8_case(name, *shape)


def make_int8_case(name: str, c: int, rows: int, columns: int) -> Case:
    n, grid = 1 + rows * columns, (rows, columns)
    *tensors, weight, bias = inputs(n, c, dtypes_of("int8").states, "cpu")
    levels, scale = quantize_weight(weight, torch.int8)
    return Case(
        op="dwconv_qkv",
        case=f"{name} 1x{n}x{c} int8",
        run=lambda: dwconv_qkv(*tensors, levels, bias, grid, scale),
        bytes=size_of(*tensors, levels, bias, scale) + 3 * size_of(tensors[0]),
        baselines={"unquantized": lambda: dwconv_qkv(*tensors, weight, bias, grid)},
        operations=2 * 3 * n * c * c,
        dtype=torch.int8,
        atol=0.25,
    )


def make_case(name: str, c: int, rows: int, columns: int, dtype: torch.dtype, device: str) -> Case:
    n = 1 + rows * columns
    tensors = inputs(n, c, dtype, device)
    return Case(
        op="dwconv_qkv",
        case=f"{name} 1x{n}x{c} {str(dtype)[6:]}",
        run=lambda: dwconv_qkv(*tensors, (rows, columns)),
        bytes=size_of(*tensors) + 3 * size_of(tensors[0]),
        baselines=torch_baselines(dwconv_qkv_reference, *tensors, rows, columns),
        operations=2 * 3 * n * c * c,
        dtype=dtype,
        atol=1e-4 if dtype == torch.float32 else 0.25,  # PyTorch rounds the convolutions' results
    )


def inputs(n: int, c: int, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, ...]:
    normal = normals(torch.Generator().manual_seed(0), device, dtype)

    return (
        normal(1, n, c),
        normal(c),
        normal(c),
        normal(3, 3, 3, c, scale=1 / 3),
        normal(3, c),
        normal(3, c, c, scale=c**-0.5),
        normal(3, c),
    )
