"""How a CPU computes fastest: how many threads, and how many frames at a time in each. Measured once, and kept.

The rule that is measured against: a thread for every core that may be used, four frames at a time. It loses where two
logical cores share the arithmetic of one, or where four frames' activations do not fit a core's cache. Scores do not
depend on any of it, so what one run has measured another may use.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from aedmae_fast.config import CHANNELS, PRESETS, ModelConfig
from aedmae_fast.engine.cores import distinct_cores, usable_cores
from aedmae_fast.engine.cpu_name import cpu_generation, cpu_name
from aedmae_fast.engine.ring import Window
from aedmae_fast.engine.runner import MICRO_BATCH, Batch, Runner
from aedmae_fast.files import replacing
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import native
from aedmae_fast.version import __version__

__all__ = ["Way", "calibrated", "measure"]

FRAMES = (MICRO_BATCH["cpu"], 2, 1)  # at a time in a thread
WORTH = 0.95  # of the rule's time: what takes longer is not worth leaving it
ROUNDS, SECONDS = 3, 1.0  # at least so many turns of each way, and no new turn after so long


class Way(NamedTuple):
    """Of computing frames on a CPU."""

    threads: int
    frames: int  # at a time in each


def calibrated(config: ModelConfig, precision: str) -> tuple[Way, str]:
    """The fastest way for a network in a precision on this machine, and in words how that is known.

    Measured where it is not known yet: a few seconds.
    """
    ways = [Way(threads, frames) for threads in _thread_counts() for frames in FRAMES]
    key = _key(config, precision, ways)
    if (known := _read().get(key)) in ways:
        return known, f"measured here before; kept in {_path()}"
    found, seconds = measure(ways, lambda way: _timer(way, config, precision))
    kept = f"kept in {_path()}" if _keep(key, found) else f"not kept: {_path()} cannot be written"
    return found, f"measured {len(ways)} ways in {seconds:.1f} s; {kept}"


def measure(ways: Sequence[Way], timer: Callable[[Way], Callable[[], float]]) -> tuple[Way, float]:
    """The way of the least time a frame, and how long it took to find out; the first, unless another is worth it.

    Args:
        ways: the rule first.
        timer: makes what computes once in a way and returns its seconds a frame. Each has a turn to warm up, which
            does not count, then all take turns; the best turn of each counts, so that what else runs meanwhile does
            not decide.
    """
    started = time.perf_counter()
    timers = [timer(way) for way in ways]
    for warm_up in timers:
        warm_up()
    best, turns = [float("inf")] * len(ways), 0
    while turns < ROUNDS or time.perf_counter() - started < SECONDS:
        best = [min(seconds, turn()) for seconds, turn in zip(best, timers, strict=True)]
        turns += 1
    fastest = min(range(len(ways)), key=best.__getitem__)
    chosen = fastest if best[fastest] < WORTH * best[0] else 0
    return ways[chosen], time.perf_counter() - started


def _thread_counts() -> list[int]:
    """All cores that may be used; and one of each pair that shares its arithmetic."""
    cores = usable_cores()[0]
    return sorted({cores, min(cores, distinct_cores())}, reverse=True)


def _timer(way: Way, config: ModelConfig, precision: str) -> Callable[[], float]:
    """Of an untrained network, whose weights take as long as any others."""
    with torch.random.fork_rng(devices=[]):
        model = AedMae(config).eval()
    runner = Runner(model, PRESETS["release-avenue"], "cpu", precision, way.threads)
    count = way.threads * way.frames  # of which Runner gives each thread its share
    session = runner.session(frames=1, maps=0)
    row = session.frames.add(torch.zeros(1, config.height, config.width, CHANNELS, dtype=torch.uint8))[0]
    batch = Batch([Window(0, (row, row, row))] * count, [], [])

    def turn() -> float:
        started = time.perf_counter()
        session.submit(batch)()
        return (time.perf_counter() - started) / count

    return turn


def _key(config: ModelConfig, precision: str, ways: Sequence[Way]) -> str:
    """What the measurement holds for."""
    processor = [cpu_name(), cpu_generation(), native.cpu().isa()]
    about = [__version__, torch.__version__, *processor, precision, config.to_dict(), ways]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def _path() -> Path:
    """Relative where this user has no home: then there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "aedmae_fast" / "calibration.json"


def _read() -> dict[str, Way]:
    """Empty where there is none, or something else."""
    path = _path()
    try:
        content = json.loads(path.read_text()) if path.is_absolute() else {}
        return {str(key): Way(int(threads), int(frames)) for key, (threads, frames) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep(key: str, way: Way) -> bool:
    path = _path()
    if not path.is_absolute():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(json.dumps({**_read(), key: way}, indent=1))
    except OSError:
        return False
    return True
