"""Repairs bfloat16 in Triton's interpreter, which runs kernels on CPU tensors under ``TRITON_INTERPRET=1``.

The interpreter keeps bfloat16 as its 16 bits in an integer. It converts to and from float32 without rounding to nearest
even, and multiplies matrices of these integers as if they were numbers (triton issue 11584): wrong results, no error.
Here conversions round as a GPU does, products are of the values, and any other arithmetic on bfloat16 is an error: our
kernels compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
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


def widened(handle: TensorHandle) -> TensorHandle:
    """Of float32 where it was of bfloat16."""
    if handle.dtype.scalar != tl.bfloat16:
        return handle
    return TensorHandle(to_float32(handle.data), tl.float32)


def repair() -> None:
    """Once a process, before the first kernel runs."""
    convert, dot = InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot

    def cast(self: InterpreterBuilder, source: TensorHandle, target: Any, *_: Any) -> TensorHandle:
        source = widened(source)
        if target.scalar != tl.bfloat16:
            return convert(self, source, target)
        return TensorHandle(to_bfloat16(source.data.astype(np.float32)), tl.bfloat16)

    def product(self: InterpreterBuilder, a: TensorHandle, b: TensorHandle, acc: TensorHandle, *how: Any) -> Any:
        if acc.dtype.scalar != tl.float32:
            raise TypeError(f"the interpreter adds up products in float32 only, found {acc.dtype}")
        return dot(self, widened(a), widened(b), acc, *how)

    def numbers_only(compute: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: InterpreterBuilder, *args: Any) -> Any:
            if any(isinstance(arg, TensorHandle) and arg.dtype.scalar == tl.bfloat16 for arg in args):
                raise TypeError("the interpreter cannot compute with bfloat16; convert to float32 first")
            return compute(self, *args)

        return run

    InterpreterBuilder.cast_impl = InterpreterBuilder.create_fp_to_fp = cast
    InterpreterBuilder.create_dot = product
    for name in ("binary_op", "unary_op", "create_fma", "create_fabs", "create_erf", "create_rsqrt"):
        setattr(InterpreterBuilder, name, numbers_only(getattr(InterpreterBuilder, name)))
