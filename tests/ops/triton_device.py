"""Where the Triton tests run, and how a result is judged.

With a GPU (or with FAIL_WITHOUT_CUDA=1, to fail for want of one) kernels are compiled and run on it, nothing is
interpreted. Without one they are interpreted on CPU tensors, about half a millisecond a program.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["BOUND", "DEVICE", "DTYPES", "check", "reference", "rms", "triton_version"]

DEVICE = "cuda" if torch.cuda.is_available() or os.environ.get("FAIL_WITHOUT_CUDA") == "1" else "cpu"
if DEVICE == "cpu":
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError("tests/conftest.py asks for Triton's interpreter, and was not there")
    from tests.ops.triton_interpreter import repair

    repair()

DTYPES = [torch.float32, torch.bfloat16]
# RMS of the error over the RMS of the result. bfloat16 has 8 bits: rounding the result makes 1.7e-3, and what lies
# between (weights of the softmax, hidden units, convolutions) is rounded once more.
BOUND = {torch.float32: 2e-6, torch.bfloat16: 4e-3}


def triton_version(op: str, file: str = "") -> Callable[..., Any]:
    return getattr(importlib.import_module(f"aedmae_fast.ops.triton.{file or op}"), op)


def reference(op: str, *args: Any) -> Any:
    """The specification on the CPU, in float64 wherever the arguments are floating point, but for quantized weights."""
    on_cpu = [x.cpu() if isinstance(x, Tensor) else x for x in args]
    exact = (x.double() if isinstance(x, Tensor) and x.is_floating_point() and x.itemsize > 1 else x for x in on_cpu)
    return getattr(importlib.import_module(f"aedmae_fast.ops.{op}"), f"{op}_reference")(*exact)


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def check(op: str, *args: Any, bound: float, least: float = 0.0) -> None:
    """Every result of the Triton version is as near the specification as ``bound``; what nobody wrote is NaN.

    Args:
        bound: RMS of the error, as a share of the expected result's.
        least: what the error is held against where the expected result is less: the few values of a small shape may
            happen to cancel.
    """
    found, expected = triton_version(op)(*args), reference(op, *args)
    for f, e in zip(*((x,) if isinstance(x, Tensor) else x for x in (found, expected)), strict=True):
        assert f.shape == e.shape
        assert rms(f.cpu().double() - e) <= bound * max(rms(e), least)
