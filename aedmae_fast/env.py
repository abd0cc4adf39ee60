"""``python -m aedmae_fast.env``: versions, what was built, and which backend each operation uses and why."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from aedmae_fast.engine.cpu_name import cpu_generation, cpu_name
from aedmae_fast.ops import native
from aedmae_fast.ops.library import BACKENDS
from aedmae_fast.version import __version__
from aedmae_fast.video.nvdec import why_no_nvdec
from aedmae_fast.video.survey import why_no_dali

__all__ = ["describe"]

PACKAGES = {
    "torch": ("torch",),
    "triton": ("triton",),
    "dali": ("nvidia-dali-cuda130", "nvidia-dali-cuda120"),
    "PyAV": ("av",),
    "numpy": ("numpy",),
}


def describe() -> dict[str, Any]:
    """Everything about this installation that a result may depend on: nested dicts of strings, ready for JSON."""
    return {
        "versions": {
            "aedmae_fast": __version__,
            "python": platform.python_version(),
            **{name: _version(names) for name, names in PACKAGES.items()},
        },
        "cpu": {
            "name": f"{cpu_name()}, {cpu_generation()}",
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            **_cpu(),
        },
        "cuda": {"kernels": _cuda_kernels(), "torch": torch.version.cuda or "built without CUDA", **_gpus()},
        "decoders": {
            "nvdec": f"none: {reason}" if (reason := why_no_nvdec()) else "PyAV, where the driver has NVDEC",
            "dali": f"none: {reason}" if (reason := why_no_dali()) else "to be had",
        },
        "ops": {name: _backends(name) for name in sorted(BACKENDS)},
    }


def _version(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"


def _cpu() -> dict[str, str]:
    try:
        module = native.cpu()
        return {
            "isa": f"{module.isa()} (of {', '.join(module.isas())})",
            "amx": f"none: {reason}" if (reason := module.why_no_amx()) else "to be had",
            "compiler": module.build_info()["compiler"],
            "sources": module.build_info()["sources"],
        }
    except (ImportError, ValueError) as error:  # never built; AEDMAE_CPU_ISA is not to be had
        return {"isa": f"none: {error}"}


def _cuda_kernels() -> str:
    try:
        built = str(native.cpu().build_info()["cuda"])
        return f"{built}; {'in use' if native.cuda() else f'not in use: {native.why_no_cuda()}'}"
    except ImportError as error:
        return f"none: {error}"


def _gpus() -> dict[str, str]:
    if not torch.cuda.is_available():
        return {"devices": "none"}
    found = (torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count()))
    return {
        f"device {i}": f"{gpu.name}, sm_{gpu.major}{gpu.minor}, {gpu.total_memory / 2**30:.0f} GiB"
        for i, gpu in enumerate(found)
    }


def _backends(op: str) -> dict[str, str]:
    try:
        return BACKENDS[op]()
    except (ImportError, ValueError) as error:
        return {"cpu": f"none: {error}"}


def _rows(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{path}{key} ")
        else:
            yield f"{path}{key}", value


def main(arguments: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(
        prog="python -m aedmae_fast.env", description="What is installed, what was built, what is used, and why."
    ).parse_args(arguments)
    rows = list(_rows(describe()))
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))  # at once: `| head` may close early


if __name__ == "__main__":
    main()
