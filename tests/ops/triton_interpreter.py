"""Repairs bfloat16 and float8 in Triton's interpreter, which runs kernels on CPU tensors under ``TRITON_INTERPRET=1``.

The interpreter keeps them as their bits in an integer. It converts to and from float32 without rounding to nearest
even or saturating, and multiplies matrices of bfloat16 as if the integers were numbers (triton issue 11584): wrong
results, no error. Here conversions round as a GPU does, products are of the values, and any other arithmetic on them is
an error: our kernels compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

__all__ = ["repair"]


def to_float32(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """uint16 bits of float32 values, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16).reshape(values.shape)


def float8_to_float32(bits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(np.ascontiguousarray(bits)).view(torch.float8_e4m3fn).float().numpy()


def to_float8(values: np.ndarray) -> np.ndarray:
    """uint8 bits of float32 values, rounded to nearest, ties to even, and at +-448 at most (cvt.rn.satfinite)."""
    levels = torch.from_numpy(np.ascontiguousarray(values, np.float32)).clamp(-448, 448)
    return levels.to(torch.float8_e4m3fn).view(torch.uint8).numpy()


NARROW = {  # from and to float32
    tl.bfloat16: (to_float32, to_bfloat16),
    tl.float8e4nv: (float8_to_float32, to_float8),
}


def widened(handle: TensorHandle) -> TensorHandle:
    """Of float32 where it was of a narrower floating-point type."""
    if handle.dtype.scalar not in NARROW:
        return handle
    return TensorHandle(NARROW[handle.dtype.scalar][0](handle.data), tl.float32)


def repair() -> None:
    """Once a process, before the first kernel runs."""
    convert, dot = InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot

    def cast(self: InterpreterBuilder, source: TensorHandle, target: Any, *_: Any) -> TensorHandle:
        source = widened(source)
        if target.scalar not in NARROW:
            return convert(self, source, target)
        return TensorHandle(NARROW[target.scalar][1](source.data.astype(np.float32)), target.scalar)

    def product(self: InterpreterBuilder, a: TensorHandle, b: TensorHandle, acc: TensorHandle, *how: Any) -> Any:
        if acc.dtype.scalar != tl.float32:
            raise TypeError(f"the interpreter adds up products in float32 only, found {acc.dtype}")
        return dot(self, widened(a), widened(b), acc, *how)

    def numbers_only(compute: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: InterpreterBuilder, *args: Any) -> Any:
            if any(isinstance(arg, TensorHandle) and arg.dtype.scalar in NARROW for arg in args):
                raise TypeError("the interpreter cannot compute with bfloat16 or float8; convert to float32 first")
            return compute(self, *args)

        return run

    InterpreterBuilder.cast_impl = InterpreterBuilder.create_fp_to_fp = cast
    InterpreterBuilder.create_dot = product
    for name in ("binary_op", "unary_op", "create_fma", "create_fabs", "create_erf", "create_rsqrt"):
        setattr(InterpreterBuilder, name, numbers_only(getattr(InterpreterBuilder, name)))
