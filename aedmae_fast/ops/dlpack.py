"""The ops on the arrays of other libraries, through DLPack: NumPy, CuPy, JAX, whatever has ``__dlpack__``.

>>> import numpy as np
>>> from aedmae_fast.ops import dlpack
>>> frames = np.zeros((8, 320, 640, 3), np.uint8)
>>> dlpack.motion_weights(frames, patch=16).shape  # a NumPy array: results are of the first argument's library
(8, 800)

Nothing is copied: an argument lends its memory for the call, and a result keeps PyTorch's. What runs where is up to the
arrays' device, as with tensors; errors are those of :mod:`aedmae_fast.ops`, and a ValueError for an array that runs
backwards, as ``frames[::-1]`` does: tensors cannot. NumPy has no bfloat16 to lend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from aedmae_fast import ops

__all__ = list(ops.__all__)


def _of_arrays(op: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(op)
    def call(*args: Any, **kwargs: Any) -> Any:
        first = next(_arrays([*args, *kwargs.values()]), None)
        result = op(*map(_lend, args), **{name: _lend(value) for name, value in kwargs.items()})
        if first is None or isinstance(first, Tensor):
            return result
        back = _from_dlpack(first)
        return tuple(map(back, result)) if isinstance(result, tuple) else back(result)

    return call


def _arrays(values: Any) -> Iterator[Any]:
    for value in values:
        if hasattr(value, "__dlpack__"):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _arrays(value)


def _lend(value: Any) -> Any:
    """Arrays as tensors, in lists too; all else as it is.

    Raises:
        ValueError: an array with a negative stride.
    """
    if isinstance(value, (list, tuple)):
        return [_lend(item) for item in value]
    if not hasattr(value, "__dlpack__") or isinstance(value, Tensor):
        return value
    strides = getattr(value, "strides", None)  # not every library tells them
    if strides and any(stride < 0 and size > 1 for stride, size in zip(strides, value.shape, strict=True)):
        raise ValueError(  # torch would end the process
            f"array of shape {tuple(value.shape)}: expected no negative strides, found {tuple(strides)}; copy it with"
            " np.ascontiguousarray"
        )
    return from_dlpack(value)


def _from_dlpack(array: Any) -> Callable[[Tensor], Any]:
    """``from_dlpack`` of the library that ``array`` is of."""
    if isinstance(array, np.ndarray):  # NumPy 1 has no __array_namespace__
        return np.from_dlpack
    return array.__array_namespace__().from_dlpack


@functools.cache
def __getattr__(name: str) -> Callable[..., Any]:
    """Any op of :mod:`aedmae_fast.ops`, made when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _of_arrays(getattr(ops, name))
