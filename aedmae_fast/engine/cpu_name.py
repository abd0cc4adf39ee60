"""What the processor is called: for what holds on one kind only, as measurements do."""

from __future__ import annotations

import platform
import re
from pathlib import Path

__all__ = ["cpu_generation", "cpu_name"]

CPUINFO = Path("/proc/cpuinfo")


def cpu_name() -> str:
    """As it calls itself: ``AMD EPYC 9654 96-Core Processor``; the architecture where it does not."""
    return _field("model name") or platform.processor() or platform.machine()


def cpu_generation() -> str:
    """What tells a Zen 4 from a Zen 5 where a virtual machine calls both ``AMD EPYC``: ``family 26, model 2``.

    ``unknown`` where the system does not say.
    """
    family, model = _field("cpu family"), _field("model")
    return f"family {family}, model {model}" if family and model else "unknown"


def _field(name: str) -> str | None:
    """Of the first core."""
    try:
        found = re.search(rf"^{name}[ \t]*:[ \t]*(\S.*)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:  # not Linux
        return None
    return found[1] if found else None
