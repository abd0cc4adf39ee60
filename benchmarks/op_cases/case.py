"""One measurement of an op: a size, what others would run in its place, and the work that cannot be avoided."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from aedmae_fast.config import CONFIGS

# The sizes of the data-set configurations: height, width, patch.
SIZES = {name: (c.height, c.width, c.patch) for name, c in CONFIGS.items() if name != "ubnormal"}  # = shanghaitech


@dataclass(frozen=True)
class Case:
    """An op at one size.

    ``run`` and every baseline return the same result, a tensor or an array or a tuple of them, within ``atol``; the
    benchmark checks it. Baselines are named as columns of the table: ``eager`` and ``compile`` (PyTorch), ``opencv``
    (OpenCV or NumPy, with PyTorch where they lack a step), ``sdpa`` (PyTorch's attention), ``step`` (the training step
    that the op is part of), ``unquantized`` (the op itself, its weights as they were, on the best instruction set).
    """

    op: str
    case: str  # size and settings
    run: Callable[[], Any]  # the public op
    bytes: int  # the least that is read and written: every input and output once
    baselines: dict[str, Callable[[], Any]] = field(default_factory=dict)
    operations: int = 0  # of matrix products, a multiply-add counting 2; 0: there are none
    dtype: torch.dtype = torch.float32  # that the matrix products are in
    atol: float = 0
    triton: Callable[[], Any] | None = None  # the Triton version, of an op that prefers a CUDA C++ one


def torch_baselines(reference: Callable[..., Any], *arguments: Any) -> dict[str, Callable[[], Any]]:
    """The specification, eagerly and compiled."""
    compiled = torch_compiled(reference)
    return {"eager": lambda: reference(*arguments), "compile": lambda: compiled(*arguments)}


def torch_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    torch.compiler.reset()  # it keeps no more than 8 versions of a function, and cases come one by one
    return torch.compile(function, fullgraph=True, dynamic=False)


def triton_version(op: str, *arguments: Any, file: str = "") -> Callable[[], Any]:
    """The Triton version of an op by itself; ``file`` where it has not the op's name."""
    return lambda: getattr(importlib.import_module(f"aedmae_fast.ops.triton.{file or op}"), op)(*arguments)


def normals(generator: torch.Generator, device: str, dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    """``normal(*shape, scale=1.0)``: the generator's next values, of standard deviation ``scale``."""

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * scale).to(device, dtype)

    return normal


def size_of(*tensors: torch.Tensor) -> int:
    """Bytes of the tensors together."""
    return sum(t.numel() * t.element_size() for t in tensors)
