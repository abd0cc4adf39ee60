"""The device's own clock around runs on a GPU, and whether it still computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

NAP = 40_000_000  # clocks, 20 ms: the device waits so long, until everything that is timed is queued


def device_seconds(runs: Sequence[Callable[[], Any]]) -> list[float]:
    """Of each run, one after the other. All is queued while the device sleeps, so that no launch waits for Python."""
    torch.cuda.synchronize()
    torch.cuda._sleep(NAP)
    events = []
    for run in runs:
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        run()
        after.record()
        events.append((before, after))
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1e3 for before, after in events]


def why_lost() -> str:
    """Why the GPU computes nothing more in this process, as after an illegal access; empty where it does."""
    try:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except Exception as error:  # PyTorch's are of several kinds
        return (str(error).strip() or repr(error)).splitlines()[0]
    return ""
