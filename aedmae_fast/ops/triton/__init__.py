"""Triton versions of the ops, for CUDA tensors: one file an op, of the op's name; the guard around them is here.

Where an op has a CUDA C++ version too, that one is used if it was built: these ops run without a CUDA toolkit as well.

Only the files of this folder import ``triton``, and only :func:`with_triton` imports those files, when they are needed:
the package works without Triton, and says so in ``python -m aedmae_fast.env``.

What the kernels have in common:

- Matrix products of bfloat16 run on tensor cores and add up in float32; those of float32 do so in three TF32 parts,
  with float32's accuracy (launch.py); those of float8 do where the device has it (product.py). Norms, softmax, GELU and
  errors are float32 in all.
- Tiles fit the 99 KiB of shared memory that the smallest devices with bfloat16 tensor cores give a program (sm_86 and
  sm_89).
- Sizes that belong to the network (tokens, channels, patch) are compile-time constants; the batch is not.
- Every launch has one fixed configuration, chosen by counting and by what the compiler makes of it
  (tests/ops/triton_gates.py), so nothing is tuned at run time and a CUDA graph can be captured after the first call.
  Compiled kernels are kept on disk by Triton itself, for each kind of device (~/.triton/cache, TRITON_CACHE_DIR).
- Sums run in an order that depends on the network's sizes alone: a frame's result has the same bits in every batch.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aedmae_fast.ops import native

__all__ = ["cpp_or_triton", "cuda_or_triton", "triton_backend", "why_no_fp8", "why_no_triton", "with_triton"]

OLDEST = (8, 0)  # compute capability: bfloat16 on tensor cores
FP8 = torch.float8_e4m3fn
OLDEST_FP8 = (8, 9)  # float8 on tensor cores


def with_triton(op: str, plain: Callable[..., Any], file: str = "") -> Callable[..., Any]:
    """An op's implementation for CUDA tensors: its Triton version, or ``plain`` for float64 and without Triton.

    The tensors' own device is asked: of several, one may be too old.

    Args:
        op: function to call.
        plain: the plain version, with the same arguments.
        file: of this folder, where it has not the op's name.
    """

    def run(*args: Any) -> Any:
        tensors = [arg for arg in args if isinstance(arg, Tensor)] or list(args[0])  # frame_prep's planes are a list
        dtypes = {tensor.dtype for tensor in tensors}
        device = tensors[0].device
        if torch.float64 in dtypes or why_no_triton(device) or (FP8 in dtypes and why_no_fp8(device)):
            return plain(*args)
        return getattr(importlib.import_module(f"{__name__}.{file or op}"), op)(*args)

    return run


def triton_backend() -> str:
    """What the ops of this folder run on for CUDA tensors, and why on nothing faster."""
    reason = why_no_triton()
    return f"PyTorch ({reason})" if reason else f"Triton {importlib.import_module('triton').__version__}"


def cpp_or_triton() -> dict[str, str]:
    """What an op with a C++ and a Triton version runs on, by device type, and why on nothing faster."""
    return {"cpu": native.cpu_backend(), "cuda": triton_backend()}


def cuda_or_triton() -> dict[str, str]:
    """What an op with a C++, a CUDA C++ and a Triton version runs on, by device type, and why on nothing faster."""
    if native.cuda():
        found = "CUDA C++"
    elif reason := why_no_triton():
        found = f"PyTorch ({native.why_no_cuda()}; {reason})"
    else:
        found = f"{triton_backend()} ({native.why_no_cuda()})"
    return {"cpu": native.cpu_backend(), "cuda": found}


@functools.cache
def why_no_triton(device: torch.device | None = None) -> str:
    """Why the Triton versions are not used on a device (None: the current one), in one line; empty where they are."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    if not torch.cuda.is_available():
        return "no CUDA device"
    return _too_old(device, OLDEST)


@functools.cache
def why_no_fp8(device: torch.device | None = None) -> str:
    """The same of those that multiply float8."""
    return why_no_triton(device) or _too_old(device, OLDEST_FP8)


def _too_old(device: torch.device | None, oldest: tuple[int, int]) -> str:
    if (found := torch.cuda.get_device_capability(device)) >= oldest:
        return ""
    return f"compute capability {found[0]}.{found[1]} of the device is below {oldest[0]}.{oldest[1]}"
