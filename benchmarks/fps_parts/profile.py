"""Where the time of a step goes on a CPU: every operation's share, and how far it is above its floor.

One thread computes a few frames at a time, as the engine does, in turns with and without a clock around each operation
that PyTorch dispatches; what an operation calls belongs to it. In the same turns run the yardsticks: a large linear
layer, PyTorch's or ours, in int8 for the ops with weights in int8, and a copy of as many bytes as one of our ops must
read and write, each input and output once (caches included).
The op's floor is the larger of the two times that they take for its work, of which only products of matrices count. The
fastest run of each counts: a disturbance only adds.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from yardsticks import copy_of, square_linears, square_operations

from aedmae_fast.config import CHANNELS, WINDOW

from .contender import Inputs, Step

# Operations of the matrix products of one call, a multiply-add counting 2: arguments and result -> count.
OPERATIONS: dict[str, Callable[[tuple[Any, ...], Any], int]] = {
    "aedmae::attention": lambda a, _: 4 * math.prod(a[0].shape) * a[0].shape[2],  # q [B, heads, N, D]
    "aedmae::discrepancy_map": lambda a, _: 4 * math.prod(a[0].shape) * a[2].shape[0],  # states [B, L, C], [4*d*d, C]
    "aedmae::dwconv_qkv": lambda a, out: 2 * math.prod(out.shape) * out.shape[3],  # [3, B, N, C]
    "aedmae::linear": lambda a, _: 2 * math.prod(a[0].shape) * a[2].shape[0],  # x [..., K], bias [N]
    "aedmae::mlp": lambda a, _: 4 * (math.prod(a[0].shape) - a[0].shape[0] * a[0].shape[2]) * a[4].shape[0],
    "aedmae::patch_embed": lambda a, out: (
        2 * math.prod(out.shape) * len(WINDOW) * CHANNELS * a[7] ** 2
    ),  # [B, V, C], patch
}
OURS = "aedmae::"


@dataclass
class Calls:
    """Of one op with results of one shape, in one step."""

    seconds: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)  # that each has to read and write
    operations: int = 0  # of all of them
    dtype: torch.dtype | None = None  # of its products, where that is not the states'


class Clock(TorchDispatchMode):
    """Times every operation while it is entered: ours by name and the shape of the result, PyTorch's by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: defaultdict[str, Calls] = defaultdict(Calls)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        started = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - started
        op = func.name().split(".")[0]
        if op.startswith(OURS):
            shape = tree_leaves(result)[0].shape
            calls = self.calls[f"{op.removeprefix(OURS)} -> {list(shape)}"]
            calls.bytes.append(_bytes(op, args, result))
            calls.operations += OPERATIONS[op](args, result) if op in OPERATIONS else 0
            if any(isinstance(arg, Tensor) and arg.dtype in (torch.int8, torch.int16) for arg in args):
                calls.dtype = torch.int8
        else:
            calls = self.calls[op]
        calls.seconds.append(seconds)
        return result


def profile(step: Step, inputs: Inputs, dtype: torch.dtype, batch: int, rounds: int) -> dict[str, Any]:
    """A row for each operation of a step of ``batch`` frames, the most expensive one first.

    ``ms`` is of all its calls together, in a frame, and ``share`` that of the step; ``floor_ms`` what the yardsticks
    need for the same work, ``bound`` which of them, ``over_floor`` the ratio of the two (null for PyTorch's operations,
    most of which move nothing). ``around_ms`` is what is left of a frame's time: Python and PyTorch's dispatch.
    """
    torch.set_num_threads(1)
    with Clock() as first:  # the warm-up as well
        step(slice(0, batch))
    copies = {size: copy_of(size, "cpu") for calls in first.calls.values() for size in calls.bytes}
    products = {d: square_linears(d, "cpu") for d in {dtype, *(calls.dtype or dtype for calls in first.calls.values())}}
    whole, matrix, copying = math.inf, dict.fromkeys(products, math.inf), dict.fromkeys(copies, math.inf)
    spent: dict[str, float] = dict.fromkeys(first.calls, math.inf)  # op -> seconds
    for i in range(rounds):
        start = i * batch % (len(inputs.windows) - batch + 1)
        part = slice(start, start + batch)
        whole = min(whole, _seconds(lambda part=part: step(part)))
        with Clock() as clock:
            step(part)
        spent = {op: min(least, sum(clock.calls[op].seconds)) for op, least in spent.items()}
        copying = {size: min(least, _seconds(copies[size])) for size, least in copying.items()}
        matrix = {d: min(least, *map(_seconds, products[d])) for d, least in matrix.items()}
    per_operation = {d: seconds / square_operations("cpu") for d, seconds in matrix.items()}
    rows = []
    for op, calls in sorted(first.calls.items(), key=lambda item: -spent[item[0]]):
        in_products = calls.operations * per_operation[calls.dtype or dtype]
        floors = {"matrix": in_products, "copy": sum(copying[size] for size in calls.bytes)}
        bound = max(floors, key=floors.__getitem__) if calls.bytes else None
        rows.append(
            {
                "op": op,
                "calls": len(calls.seconds),
                "ms": round(1e3 * spent[op] / batch, 4),
                "share": round(spent[op] / whole, 4),
                "gflop": round(calls.operations / batch / 1e9, 6),
                "bound": bound,
                "floor_ms": bound and round(1e3 * floors[bound] / batch, 4),
                "over_floor": bound and round(spent[op] / floors[bound], 2),
            }
        )
    around = whole - sum(spent.values())
    return {
        "batch": batch,
        "frame_ms": round(1e3 * whole / batch, 3),
        "around_ms": round(1e3 * around / batch, 4),
        "around_share": round(around / whole, 4),
        "matrix_gflops": round(1e-9 / per_operation[dtype], 1),
        "rows": rows,
    }


def _bytes(op: str, args: tuple[Any, ...], result: Any) -> int:
    """The least that a call reads and writes; of the frames of ``patch_embed``, the patches that it takes."""
    tensors = [t for t in tree_leaves((args, result)) if isinstance(t, Tensor)]
    if op == f"{OURS}patch_embed":
        tensors[0] = tensors[0].new_empty(math.prod(result.shape[:2]) * len(WINDOW) * CHANNELS * args[7] ** 2)
    return sum(t.numel() * t.element_size() for t in tensors)


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
