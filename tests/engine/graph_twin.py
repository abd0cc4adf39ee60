"""What a CUDA graph does, on the CPU: operations are recorded with their tensors, replayed in place, and refused where
a capture would refuse them.

A replay repeats the recorded operations and nothing else: what Python decided while recording is baked in. Results go
to the addresses that the recording had.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aedmae_fast.engine.graph import Captured

_TO_OR_FROM_HOST = {"cpu", "cuda", "numpy", "tolist", "tensor", "as_tensor", "from_numpy", "pin_memory", "__array__"}


class IllegalInCapture(RuntimeError):
    """An operation that a CUDA graph cannot hold."""


class CaptureTwin:
    """Records like :class:`aedmae_fast.engine.graph.CudaCapture`; ``sizes`` are the batch sizes in recorded order."""

    def __init__(self, device: torch.device) -> None:
        self.sizes: list[int] = []

    def __call__(self, run: Callable[[], tuple[Tensor, ...]]) -> Captured:
        run()
        with _NoHost(), _Tape() as tape:
            outputs = run()
        self.sizes.append(len(outputs[0]))
        return Captured(tape.replay, outputs)


class _NoHost(TorchFunctionMode):
    """Refuses what never becomes an operation on a CPU: copies to and from the host that are none here."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        moves = name == "to" and any(isinstance(a, (str, torch.device)) for a in (*args[1:], *kwargs.values()))
        by_list = name == "__getitem__" and isinstance(args[1], list)
        if name in _TO_OR_FROM_HOST or moves or by_list:
            raise IllegalInCapture(f"{name}: copies between host and device")
        return func(*args, **kwargs)


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._records: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # in inference mode composite operations, dropout say, arrive whole
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        _refuse(func, args)
        result = func(*args, **kwargs)
        if not _is_view(func):  # a view of a fixed address needs no replay
            self._records.append((func, args, kwargs, _tensors(result)))
        return result

    def replay(self) -> None:
        for func, args, kwargs, recorded in self._records:
            found = _tensors(func(*args, **kwargs))
            if not func._schema.is_mutable:
                for to, result in zip(recorded, found, strict=True):
                    to.copy_(result)


def _refuse(func: Any, args: Any) -> None:
    if torch.Tag.nondeterministic_seeded in func.tags and "scaled_dot_product" not in func.name():
        raise IllegalInCapture(f"{func}: random numbers")
    if torch.Tag.data_dependent_output in func.tags:
        raise IllegalInCapture(f"{func}: a tensor's value on the host")
    if func.name().startswith(("aten::index.", "aten::index_put")):
        if any(t.dtype in (torch.bool, torch.uint8) for t in _tensors(args[1])):
            raise IllegalInCapture(f"{func}: boolean-mask indexing")
    elif torch.Tag.dynamic_output_shape in func.tags:
        raise IllegalInCapture(f"{func}: a shape that depends on a tensor's values")


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
