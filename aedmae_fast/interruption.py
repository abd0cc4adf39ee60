"""How a command is asked to stop: SIGINT, a terminal's Ctrl-C, and SIGTERM, a service manager's or a container's."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["sigterm_interrupts"]


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Meanwhile SIGTERM is a KeyboardInterrupt, too: what is in hand is put in order, and no file is a suspect."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
