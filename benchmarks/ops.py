"""Operations against what a pipeline would use instead, on a CPU one thread against one thread.

    python benchmarks/ops.py                        # writes benchmarks/results/ops-<device>-<commit>.csv and .json

Each iteration runs all contenders in turn, so that a busy machine disturbs all of them alike, and each of them twice,
so that none is timed with caches that another one filled. The fastest second run counts: a disturbance only adds. On a
GPU it is the device's own time, of launches that are queued while it sleeps: none waits for Python.
Bytes are every input and output once, operations those of matrix products. The op's floor is the larger of two times,
measured in the same turns: a copy of so many bytes (caches included), and so many operations at the rate of a large
linear layer, PyTorch's or ours. ``share`` is that floor over the op's time.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from device_clock import device_seconds, why_lost
from op_cases import CASES
from op_cases.case import Case
from stamp import result_path, stamp
from yardsticks import SQUARE, copy_of, square_linears, square_operations

from aedmae_fast.ops import native
from aedmae_fast.ops.library import BACKENDS
from aedmae_fast.ops.triton import why_no_triton

BASELINES = ("eager", "compile", "opencv", "sdpa", "step", "unquantized")
COLUMNS = ("op", "case", "backend", "us", *(f"over_{b}" for b in BASELINES), "bytes", "operations", "bound", "share")
Times = dict[str, float]  # contender -> seconds of its fastest run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=SQUARE, help="cpu (one thread) or cuda")
    parser.add_argument("--ops", nargs="+", choices=CASES, default=list(CASES), help="files of benchmarks/op_cases")
    parser.add_argument("--seconds", type=float, default=4, help="to spend on each case")
    parser.add_argument("--out", type=Path, help="the results, without their suffix")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    path = result_path("ops", options.device, options.out, suffix="")
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    print(line(dict(zip(COLUMNS, COLUMNS, strict=True))))
    for case in (case for name in options.ops for case in CASES[name](options.device)):
        try:
            found = measure(case, options.device, options.seconds, failed)
        except Exception as error:  # costs the others nothing; the exit code tells
            failed.append(failure(case, error))
            print(failed[-1], flush=True)
            if lost := why_lost():
                failed.append(f"what comes after that was not tried: the device is lost: {lost}")
                break
            continue
        for row in found:
            rows.append(row)
            print(line(row), flush=True)
        write(path, rows, options.device)  # is kept, whatever becomes of the rest
    if failed:
        sys.exit("\n".join(["failed:", *failed]))
    print(f"wrote {path}.csv and .json")


def line(row: dict[str, Any]) -> str:
    first = f"{row['op']:<16} {row['case']:<40} {row['backend']:<12}"
    return first + " ".join(f"{row[column]!s:>12}" for column in COLUMNS[3:])


def failure(case: Case, error: Exception) -> str:
    return f"{case.op}, {case.case}: {type(error).__name__}: {error}".splitlines()[0]


def write(path: Path, rows: list[dict[str, Any]], device: str) -> None:
    with path.with_name(f"{path.name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    about = {**stamp(device), "opencv": cv2.__version__}
    path.with_name(f"{path.name}.json").write_text(json.dumps(about, indent=1) + "\n")


def measure(case: Case, device: str, seconds: float, failed: list[str]) -> list[dict[str, Any]]:
    """A row for each contender: ours on every backend, and the baselines.

    A baseline that does not run, or computes something else, has no row; in ours stands ``failed`` in its column, and
    ``failed`` is given the reason.
    """
    contenders = backends(case, device)
    if device == "cpu":
        native.cpu().set_isa("auto")
    expected = arrays(case.run())
    for name, run in contenders.items():
        check(name, run, expected, case.atol)
    for name, run in case.baselines.items():
        try:
            check(name, run, expected, case.atol)
            contenders[name] = run
        except Exception as error:  # compilers' are of many kinds
            failed.append(failure(case, error))
            print(failed[-1], flush=True)
    yardsticks = {"copy": copy_of(case.bytes, device)}
    if case.operations:
        products = {f"matrix product {i}": run for i, run in enumerate(square_linears(case.dtype, device))}
        yardsticks |= products
    times = interleaved({**contenders, **yardsticks}, seconds, device)
    floors = {"copy": times["copy"]}
    if case.operations:
        product = min(times[name] for name in products)
        floors["matrix"] = product * case.operations / square_operations(device)
    bound = max(floors, key=lambda name: floors[name])
    return [
        {
            "op": case.op,
            "case": case.case,
            "backend": name,
            "us": round(times[name] * 1e6, 1),
            **{f"over_{b}": over(case, b, times, name) for b in BASELINES},
            "bytes": case.bytes,
            "operations": case.operations,
            "bound": bound,
            "share": round(floors[bound] / times[name], 2),
        }
        for name in contenders
    ]


def over(case: Case, baseline: str, times: Times, name: str) -> float | str:
    if baseline not in times:
        return "failed" if baseline in case.baselines else ""
    return round(times[baseline] / times[name], 2)


def backends(case: Case, device: str) -> dict[str, Callable[[], Any]]:
    """The op on every instruction set of this CPU, or in CUDA C++ and in Triton; what is no op of its own, as it is."""

    def forced(isa: str) -> Callable[[], Any]:
        def run() -> Any:
            native.cpu().set_isa(isa)
            return case.run()

        return run

    if case.op not in BACKENDS:
        return {"autograd": case.run}
    if device != "cpu":
        found = {BACKENDS[case.op]()["cuda"].split(" (")[0]: case.run}
        return {**found, "Triton": case.triton} if case.triton and native.cuda() and not why_no_triton() else found
    return {isa: forced(isa) for isa in native.cpu().isas()}


def check(name: str, run: Callable[[], Any], expected: list[np.ndarray], atol: float) -> None:
    """That a contender computes what ours does on the best instruction set, and a warm-up for it.

    Raises:
        ArithmeticError: it does not.
    """
    for one, other in zip(arrays(run()), expected, strict=True):
        error = np.abs(one - other).max()
        if not error <= atol:
            raise ArithmeticError(f"{name} is off by {error}, more than {atol}")


def arrays(result: Any) -> list[np.ndarray]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(p.cpu().double() if isinstance(p, torch.Tensor) else p, dtype=np.float64) for p in parts]


def interleaved(contenders: dict[str, Callable[[], Any]], seconds: float, device: str) -> Times:
    """Runs the contenders in turn for as long as ``seconds``, and 5 times at least."""
    for run in contenders.values():
        run()
    clock = seconds_on_cpu if device == "cpu" else seconds_on_gpu
    fastest = dict.fromkeys(contenders, float("inf"))
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < 5 or time.perf_counter() < end:
        rounds += 1
        for name, run in contenders.items():
            run()
            fastest[name] = min(fastest[name], clock(run))
    return fastest


def seconds_on_cpu(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def seconds_on_gpu(run: Callable[[], Any]) -> float:
    return device_seconds([run])[0]


if __name__ == "__main__":
    main()
