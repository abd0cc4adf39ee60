"""A sign of life, from the code that reads a video to whoever waits for its frames in another thread.

A file can be long at work without a frame: its packets are counted first, or a damaged stretch is skipped. That is no
hanging disk and no hanging decoder, so every packet and every image is a sign.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["on_pulse", "pulse"]


class _Listener(threading.local):
    call: Callable[[], None] = staticmethod(lambda: None)


_listener = _Listener()


def on_pulse(call: Callable[[], None]) -> None:
    """From now on, every :func:`pulse` of this thread calls this."""
    _listener.call = call


def pulse() -> None:
    """Something was read."""
    _listener.call()
