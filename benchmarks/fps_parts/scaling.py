"""Ours on more threads and in more processes of one CPU."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from aedmae_fast import load_model
from aedmae_fast.config import PRESETS
from aedmae_fast.engine.cores import usable_cores
from aedmae_fast.engine.runner import MICRO_BATCH

from .contender import Inputs, Way
from .torch_contenders import Ours

FRAMES = 32  # that each process holds and computes over and over


def scaling(checkpoint: str, preset: str, precision: str, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Frames per second of all processes together: a thread, a thread per core, and a process per core."""
    cores = usable_cores()[0]
    layouts = list(dict.fromkeys([(1, 1), (1, cores), (cores, 1)]))  # processes, threads of each
    rates: dict[tuple[int, int], list[float]] = {layout: [] for layout in layouts}
    for _ in range(rounds):
        for processes, threads in layouts:
            arguments = checkpoint, preset, precision, threads, seconds
            rates[processes, threads].append(_together(processes, arguments))
    alone = rates[layouts[0]]
    return [
        {
            "processes": processes,
            "threads": threads,
            "fps": round(statistics.median(values), 2),
            "over_one_thread": round(statistics.median(v / a for v, a in zip(values, alone, strict=True)), 3),
        }
        for (processes, threads), values in rates.items()
    ]


def _together(processes: int, arguments: tuple[Any, ...]) -> float:
    """The sum of what so many processes achieve at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, _remember, (barrier,)) as pool:
        return sum(pool.starmap(_work, [arguments] * processes, chunksize=1))


_barrier: Barrier


def _remember(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _work(checkpoint: str, preset: str, precision: str, threads: int, seconds: float) -> float:
    model = load_model(checkpoint)
    c = model.config
    frame = torch.randint(0, 256, (c.height, c.width, 3), dtype=torch.uint8)
    inputs = Inputs.of(c, frame[None], FRAMES)
    ours = Ours(model, inputs, precision, PRESETS[preset]).contender(Way(MICRO_BATCH["cpu"], threads, apart=True))
    ours.rate(FRAMES, inputs.device)  # warm-up
    _barrier.wait()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        ours.rate(FRAMES, inputs.device)
        done += FRAMES
    return done / (time.perf_counter() - started)
