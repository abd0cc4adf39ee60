"""A frame per thread, or all threads on each frame? The network alone, on an idle machine and beside a busy process.

    python benchmarks/threads.py                    # writes benchmarks/results/threads-<device>-<commit>.json

Each contender runs in a process of its own, since the number of threads is a setting of the whole process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stamp import result_path, stamp, write_report

from aedmae_fast import load_model
from aedmae_fast.engine.cores import usable_cores
from aedmae_fast.model.masks import mask_bank

WAYS = ("threads per frame", "frame per thread")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="per contender (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = result_path("threads", "cpu", options.json)
    rows = []
    for config, precision, busy in product(("avenue", "shanghaitech"), ("float32", "bfloat16"), (0, 1)):
        with busy_processes(busy):
            rates = {way: in_process(way, config, precision, options.seconds) for way in WAYS}
        ratio = rates["frame per thread"] / rates["threads per frame"]
        rows.append({"config": config, "precision": precision, "busy": busy, **rates, "ratio": round(ratio, 2)})
        rounded = ", ".join(f"{way} {rate:.1f}" for way, rate in rates.items())
        print(f"{config:<13} {precision:<9} beside {busy} busy: {rounded} frames/s, ratio {ratio:.2f}", flush=True)
    write_report(path, {**stamp("cpu"), "rows": rows})


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Others that want a core all the time."""
    others = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(count)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.terminate()
            other.join()


def _spin() -> None:
    while True:
        sum(range(10**6))


def in_process(*arguments: Any) -> float:
    """Frames per second of :func:`measure` in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(measure, arguments))


def measure(way: str, config: str, precision: str, seconds: float) -> float:
    threads = usable_cores()[0]
    model = load_model(f"untrained-{config}").to(getattr(torch, precision))
    c = model.config
    windows = torch.randint(0, 256, (1, 3, c.height, c.width, 3), dtype=torch.uint8)
    mask = mask_bank(c)[:1]

    def frame(_: int) -> None:
        with torch.inference_mode():
            model(windows, mask)

    per_frame = way == "threads per frame"
    torch.set_num_threads(threads if per_frame else 1)
    workers = 1 if per_frame else threads
    with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(threads if per_frame else 1)) as pool:
        list(pool.map(frame, range(workers)))  # warm-up
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            done += len(list(pool.map(frame, range(2 * workers))))
        return round(done / (time.perf_counter() - started), 2)


if __name__ == "__main__":
    main()
