"""How a command is told to stop: SIGINT by Ctrl-C, SIGTERM by a service manager, SIGHUP by the end of its terminal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["STOPS", "stops_interrupt"]

STOPS = signal.SIGTERM, signal.SIGHUP


@contextlib.contextmanager
def stops_interrupt() -> Iterator[None]:
    """Meanwhile each of :data:`STOPS` is a KeyboardInterrupt, too: what is in hand is put in order, and no file is a
    suspect.

    What is ignored, as SIGHUP is under ``nohup``, stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return
    before = {stop: signal.getsignal(stop) for stop in STOPS}
    taken = [stop for stop in STOPS if before[stop] != signal.SIG_IGN]
    for stop in taken:
        signal.signal(stop, signal.default_int_handler)
    try:
        yield
    finally:
        for stop in taken:
            signal.signal(stop, before[stop])
