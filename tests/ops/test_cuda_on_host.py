"""Running CUDA kernels on the host shows what it is there to show: missing barriers, and threads that do not come."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tests.cuda_on_host import ORDERS, library

THREADS = 96
IN = np.arange(1, 2 * THREADS + 1, dtype=np.int32) ** 2
ROUNDS = IN.reshape(2, THREADS)
REVERSED = ROUNDS[:, ::-1].ravel()


def run(name: str, order: int) -> np.ndarray:
    out = np.full(2 * THREADS, -1, np.int32)
    error = ctypes.create_string_buffer(200)
    library("faults").run(name.encode(), IN.ctypes, out.ctypes, order, error, ctypes.c_size_t(len(error)))
    if error.value:
        raise RuntimeError(error.value.decode())
    return out


@pytest.mark.parametrize("order", ORDERS)
def test_right_kernels_give_right_results_in_every_order(order: int) -> None:
    assert (run("reverse", order) == REVERSED).all()
    warps = IN[:THREADS].reshape(3, 32)
    assert (run("warp sums", order)[:THREADS] == warps.sum(1).repeat(32)).all()
    suffixes = warps[:, ::-1].cumsum(1)[:, ::-1]
    assert (run("suffix sums", order)[:THREADS] == suffixes.ravel()).all()


@pytest.mark.parametrize("fault", ["before reading", "before the next round"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_missing_barrier_shows_in_every_order(fault: str, order: int) -> None:
    assert (run(f"reverse without the barrier {fault}", order) != REVERSED).any()


def test_orders_differ() -> None:
    found = {run("reverse without the barrier before reading", order).tobytes() for order in ORDERS}
    assert len(found) == len(ORDERS)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("not all at the barrier", "deadlock: 95 threads wait for others"),
        ("a lane is missing", "deadlock: 31 threads wait for others"),
        ("reads a lane outside the mask", "a lane that is not in the mask"),
    ],
)
def test_what_would_hang_or_be_undefined_is_an_error(name: str, error: str, order: int) -> None:
    with pytest.raises(RuntimeError, match=error):
        run(name, order)
