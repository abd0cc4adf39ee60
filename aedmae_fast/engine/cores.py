"""How many cores this process may use: those of its affinity, or fewer where its control group has a quota of CPU time.

A container that is limited to two CPUs of a machine of 64 sees all 64. With a thread for each, all would be halted
together for most of every period, in the middle of their frames.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["distinct_cores", "usable_cores"]

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
TOPOLOGY = Path("/sys/devices/system/cpu")


def usable_cores() -> tuple[int, str]:
    """Their number, at least 1, and what limits it: ``2 cores``, ``a quota of 1.5 of 64 cores``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_quotas(), default=math.inf)
    if quota >= cores:
        return cores, "1 core" if cores == 1 else f"{cores} cores"
    return max(1, math.ceil(quota)), f"a quota of {quota:g} of {cores} cores"


def distinct_cores() -> int:
    """Cores of the affinity that have arithmetic of their own: of logical ones that share it, one counts."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    groups = set()
    for core in os.sched_getaffinity(0):
        try:
            groups.add((TOPOLOGY / f"cpu{core}" / "topology" / "thread_siblings_list").read_text())
        except OSError:  # not told: taken for one of its own
            groups.add(str(core))
    return len(groups)


def _quotas() -> Iterator[float]:
    """CPU seconds per second that the process's control group may use, and every group around it."""
    try:
        lines = OWN.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:  # hierarchy:controllers:path
        _, controllers, path = line.split(":", 2)
        unified = not controllers  # version 2; in version 1 each controller has a tree of its own
        if unified or "cpu" in controllers.split(","):
            # In a container the path may be the host's, and the group itself the root that is seen here.
            parts = Path(path.lstrip("/")).parts
            root = GROUPS if unified else GROUPS / "cpu"
            for depth in range(len(parts) + 1):
                yield from _quota_of(root.joinpath(*parts[:depth]), unified)


def _quota_of(group: Path, unified: bool) -> Iterator[float]:
    """Of one group, if it has any."""
    names = ["cpu.max"] if unified else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    try:
        quota, period = " ".join((group / name).read_text() for name in names).split()
    except OSError:  # no such group in this view, or no such controller
        return
    if quota not in ("max", "-1"):
        yield int(quota) / int(period)
