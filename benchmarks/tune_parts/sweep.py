"""Trying launch parameters: is the result right, and how long does it take beside the shipped ones?"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from device_clock import device_seconds, why_lost
from torch import Tensor

from .cases import Case, Parameters

CHECKED = 16  # frames that are compared with the reference; as many as make the same kernel as FRAMES do
FRAMES = 64  # that are timed: the engine's micro-batch
ROUNDS = 30
REPEATS = 20  # of what is faster: Triton 3.6 and 3.7 may let warps race for shared memory beside wgmma (triton#11047)
# RMS of the error over the result's: bfloat16 rounds results and what lies between.
BOUNDS = {torch.bfloat16: 4e-3, torch.float8_e4m3fn: 4e-3, torch.float32: 2e-6}

Inputs = list[list[Any]]  # arguments, to be taken in turns
Timer = Callable[[Case, Inputs, Sequence[Parameters]], list[float]]  # -> microseconds with each of the parameters


@dataclass(frozen=True)
class Row:
    """One attempt."""

    op: str
    part: str
    dtype: str
    parameters: Parameters
    shipped: bool
    error: float | None = None  # RMS over that of the result; None: it did not run
    us: float | None = None  # median; None: not timed
    over_shipped: float | None = None  # its time over that of the shipped parameters, which took turns with it
    why: str = ""  # it was not timed


@contextlib.contextmanager
def forced(case: Case, parameters: Parameters) -> Iterator[None]:
    """The op is launched with these inside."""
    table = case.module.LAUNCH
    before, table[case.dtype] = table[case.dtype], parameters
    try:
        yield
    finally:
        table[case.dtype] = before


def sweep(found: Sequence[Case], timer: Timer, minutes: float, report: Callable[[Row], None]) -> tuple[list[Row], int]:
    """Try every case's candidates, one of each case in turn, until the time is up or the device is lost.

    Returns:
        Rows, and how many candidates were left.
    """
    end = time.monotonic() + 60 * minutes
    rows = []
    left = [(case, list(case.candidates())) for case in found]
    while any(candidates for _, candidates in left):
        for case, candidates in left:
            if not candidates:
                continue
            if rows and time.monotonic() >= end:
                return rows, sum(len(candidates) for _, candidates in left)
            rows.append(attempt(case, candidates.pop(0), timer))
            report(rows[-1])
            if rows[-1].why and why_lost():
                return rows, sum(len(candidates) for _, candidates in left)
    return rows, 0


def attempt(case: Case, parameters: Parameters, timer: Timer) -> Row:
    """Correctness first: what is wrong or cannot be launched is not timed. What is faster is run again and again."""
    shipped = case.shipped
    about = case.op, case.part, str(case.dtype).removeprefix("torch."), parameters, parameters == shipped
    error = None
    try:
        error = error_of(case, parameters)
        if not error <= BOUNDS[case.dtype]:
            return Row(*about, error=error, why=f"wrong: error {error:.1e} is above {BOUNDS[case.dtype]:.0e}")
        inputs = rotating(case)
        us, beside = timer(case, inputs, [parameters, shipped])
        if us < beside and not same_bits(case, inputs[0], parameters):
            return Row(*about, error, why=f"other bits within {REPEATS} runs")
        return Row(*about, error, round(us, 2), round(us / beside, 3))
    except Exception as failure:  # the compiler's, the driver's and Triton's own are of many kinds
        reason = (str(failure).strip() or repr(failure)).splitlines()[0]
        return Row(*about, error, why=f"{type(failure).__name__}: {reason}")


def _run(case: Case, arguments: list[Any], parameters: Parameters) -> Any:
    with forced(case, parameters):
        return case.run(arguments)


def same_bits(case: Case, arguments: list[Any], parameters: Parameters) -> bool:
    """Whether run after run gives the same result."""
    first = _tensors(_run(case, arguments, parameters))
    others = (_tensors(_run(case, arguments, parameters)) for _ in range(REPEATS - 1))
    return all(torch.equal(f, o) for other in others for f, o in zip(first, other, strict=True))


def error_of(case: Case, parameters: Parameters) -> float:
    """The largest relative RMSE of the results; NaN where something was not written."""
    torch.manual_seed(0)
    arguments = case.make(CHECKED)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # fresh memory reads as NaN
    try:
        found = _run(case, arguments, parameters)
    finally:
        torch.use_deterministic_algorithms(before)
    expected = case.reference(arguments)
    pairs = zip(_tensors(found), _tensors(expected), strict=True)
    ratios = [float((f.double() - e).norm() / e.norm()) for f, e in pairs]
    return max(ratios) if all(map(math.isfinite, ratios)) else math.nan


def _tensors(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def rotating(case: Case) -> Inputs:
    """Sets of arguments, twice as large together as the device's second-level cache, and two at least."""
    torch.manual_seed(1)
    sets = [case.make(FRAMES), case.make(FRAMES)]
    sizes = sum(x.nbytes for x in sets[0] if isinstance(x, Tensor) and x.shape[0] == FRAMES)
    cache = torch.cuda.get_device_properties(sets[0][0].device).L2_cache_size if sets[0][0].is_cuda else 0
    while len(sets) * sizes < 2 * cache:
        sets.append(case.make(FRAMES))
    return sets


def on_device(case: Case, inputs: Inputs, parameters: Sequence[Parameters]) -> list[float]:
    """A :data:`Timer`: the device's own clock around each run, all parameters in turns, medians."""
    for each in parameters:
        _run(case, inputs[0], each)  # compiled by now
    turns = [(inputs[i % len(inputs)], each) for i in range(ROUNDS) for each in parameters]
    seconds = device_seconds([partial(_run, case, *turn) for turn in turns])
    return [1e6 * statistics.median(seconds[i :: len(parameters)]) for i in range(len(parameters))]
