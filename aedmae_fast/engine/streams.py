"""CUDA streams: one for each decoder and one for the compute, so that neither stands in the other's queue.

A tensor goes from the stream that made it to the one that takes it with an event between them: the taking stream waits,
the host never does. None of them is the default stream: on that, FFmpeg puts what NVDEC does (video/nvdec.py). On a CPU
a stream is None, and everything here does nothing.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["capture_stream", "compute_stream", "current", "decode_stream", "hand_over", "on_stream"]

T = TypeVar("T")
_ONE_EACH = threading.Lock()


def compute_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A stream for everything that one runner launches.

    Never the one that captures: what another thread writes to the runner's memory meanwhile would be captured too.
    """
    if device.type != "cuda":
        return None
    capturing, stream = capture_stream(device), torch.cuda.Stream(device)
    while stream == capturing:  # PyTorch deals out 32 in turn
        stream = torch.cuda.Stream(device)
    return stream


def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of a GPU on which all graphs are captured, one at a time (engine/graph.py)."""
    with _ONE_EACH:  # or two threads that come first would have one each
        return _capture_stream(device)


@functools.cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def decode_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A stream for one decoder.

    Of high priority: its few small kernels run ahead of a batch, which takes every multiprocessor. It also keeps the
    decoders out of PyTorch's other pool of 32 streams, which it deals out over and over: one of those may be capturing.
    """
    return torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None


def current(stream: torch.cuda.Stream | None) -> AbstractContextManager[Any]:
    """Inside, ``stream`` is this thread's current one. torch.cuda.stream(None) would start CUDA wherever it is."""
    return contextlib.nullcontext() if stream is None else torch.cuda.stream(stream)


def hand_over(x: Tensor) -> Callable[[], None]:
    """Mark the point on this thread's current stream where ``x`` is made.

    Returns:
        To be called where ``x`` is taken: that thread's current stream waits for the mark. On the host, ``x`` is made
        already, and nothing is to be waited for.
    """
    if not x.is_cuda:
        return _nothing
    maker, made = torch.cuda.current_stream(x.device), torch.cuda.Event()
    made.record(maker)

    def take() -> None:
        taker = torch.cuda.current_stream(x.device)
        if taker == maker:
            return
        taker.wait_event(made)
        # The allocator gives x's memory back to the stream it came from as soon as nobody holds x, and the maker would
        # write the next frames there while the taker has yet to read these. Told so, it waits for the taker first.
        x.record_stream(taker)

    return take


def on_stream(stream: torch.cuda.Stream | None, steps: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same values: each is made with ``stream`` current, and the caller has it with its own stream current."""
    try:
        while True:
            with current(stream):
                try:
                    value = next(steps)
                except StopIteration:
                    return
            yield value
    finally:
        with current(stream):
            steps.close()


def _nothing() -> None:
    pass
