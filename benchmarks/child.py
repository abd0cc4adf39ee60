"""A command in a process of its own, with its time and its peak resident memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple


class Ended(NamedTuple):
    """What a command left behind."""

    output: bytes
    seconds: float
    peak_mib: float  # resident, of host memory


def run_child(command: Sequence[str]) -> Ended:
    """Run ``command`` to its end.

    Raises:
        RuntimeError: an exit code other than 0.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return Ended(output, time.perf_counter() - started, usage.ru_maxrss / 1024)
