"""The one place that imports the compiled modules ``aedmae_fast._cpu`` and ``aedmae_fast._cuda``.

Both take raw addresses, sizes and strides; shapes, dtypes and devices are checked by their callers in this folder.
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from types import ModuleType

import torch

from aedmae_fast.sources import fingerprint

__all__ = ["DTYPES", "address", "cpu", "cpu_backend", "cpu_has_bf16", "cpu_has_vnni", "cuda", "why_no_cuda"]

DTYPES = (torch.float32, torch.bfloat16)  # of the network's kernels
ROOT = Path(__file__).resolve().parents[2]  # of the checkout, where this is one


def address(tensor: torch.Tensor | None) -> int:
    """Where a tensor's first element lies; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()


@functools.cache
def cpu() -> ModuleType:
    """The C++ kernels.

    Raises:
        ImportError: They were never built, as in a plain source checkout, or from other sources than are in it now:
            what they compute would be told as this version's.
    """
    try:
        module = importlib.import_module("aedmae_fast._cpu")
    except ImportError as error:
        raise ImportError(
            "aedmae_fast._cpu, the compiled CPU kernels, cannot be imported; in a source checkout, build them with "
            f"`pip install -e .` in its root ({error})"
        ) from error
    sources, built_from = fingerprint(ROOT), module.build_info().get("sources", "others")
    if sources and sources != built_from:
        raise ImportError(
            f"aedmae_fast._cpu, the compiled CPU kernels, were built from {built_from}, but the C++ sources in {ROOT}"
            f" are {sources}: run `pip install -e .` there again"
        )
    return module


def cuda() -> ModuleType | None:
    """The CUDA kernels where they were built and a device is there, else None (:func:`why_no_cuda` says why)."""
    return _cuda()[0]


def why_no_cuda() -> str:
    """Why :func:`cuda` is None, in one line; empty where it is not."""
    return _cuda()[1]


def cpu_backend() -> str:
    """What an op with a C++ kernel runs on for CPU tensors."""
    return f"C++ ({cpu().isa()})"


def cpu_has_bf16() -> bool:
    """Whether the kernels in use multiply bfloat16 (AVX512_BF16, AMX)."""
    return cpu().isa() in ("avx512_bf16", "amx")


def cpu_has_vnni() -> bool:
    """Whether the kernels in use multiply int8 (AVX512_VNNI, AMX), which all CPUs with AVX512_BF16 do."""
    return cpu().isa() in ("avx512_vnni", "avx512_bf16", "amx")


@functools.cache
def _cuda() -> tuple[ModuleType | None, str]:
    try:
        module = importlib.import_module("aedmae_fast._cuda")
    except ModuleNotFoundError:
        return None, f"the CUDA kernels were {cpu().build_info()['cuda']}"
    except ImportError as error:
        return None, f"the CUDA kernels cannot be loaded: {error}"
    count, error_text = module.device_count()
    return (module, "") if count else (None, f"no CUDA device: {error_text}")
