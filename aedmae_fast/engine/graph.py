"""Batches through one function, replayed from captured CUDA graphs: one for each batch size, in one memory pool.

A CUDA graph is a recording of kernel launches with their addresses. So everything that the function reads lies in
buffers that stay where they are: `resident` ones, which the caller fills in place (the ring of frames, the table of
masks), and one for each argument that comes anew with every batch (window indices, mask indices). A batch that is
smaller than its bucket is padded with its last row. Where graphs cannot be had, the same function runs on the same
buffers call by call, and one line says why.

Matrix products may round differently for another batch size: where a frame's result must not depend on its batch, give
one bucket.
"""

from __future__ import annotations

import bisect
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aedmae_fast.engine.streams import capture_stream

__all__ = ["Capture", "Captured", "CudaCapture", "GraphRunner"]

Tensors = tuple[Tensor, ...]
WARM_UP = 3  # runs before a capture: kernels are compiled and loaded, libraries take their workspaces

_capturing = threading.Lock()  # of all runners only one is at it: they share a device's stream for that
_failed: list[torch.cuda.CUDAGraph] = []  # kept: what allocates pinned memory may go on asking them in PyTorch 2.11


class Captured(NamedTuple):
    """A recording and the tensors, at fixed addresses, that each replay fills anew."""

    replay: Callable[[], None]
    outputs: Tensors


Capture = Callable[[Callable[[], Tensors]], Captured]


class CudaCapture:
    """Records CUDA graphs on a stream for that alone; they share a memory pool, so that only one may run at a time.

    Raises:
        RuntimeError: ``device`` is no CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise RuntimeError(f"CUDA graphs need a CUDA device, found {device}")
        self._device = device
        self._stream = capture_stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensors]) -> Captured:
        with _capturing, torch.cuda.device(self._device), _stream_kept():
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            try:
                with torch.cuda.stream(self._stream):
                    for _ in range(WARM_UP):
                        run()
                return self._capture(run)
            finally:
                current.wait_stream(self._stream)

    def _capture(self, run: Callable[[], Tensors]) -> Captured:
        graph = torch.cuda.CUDAGraph()
        # thread_local: decoders in other threads may go on allocating meanwhile.
        try:
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                outputs = run()
        except BaseException:
            _failed.append(graph)
            self._end_allocation()
            self._end_capture_of_random_numbers()
            raise
        return Captured(graph.replay, outputs)

    def _end_allocation(self) -> None:
        """What PyTorch 2.11 leaves out where a capture fails: without it nothing that two streams used is freed."""
        with contextlib.suppress(RuntimeError):  # ended already
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)

    def _end_capture_of_random_numbers(self) -> None:
        """The same of the device's generator: it gives no numbers until some capture succeeds, so one does."""
        trivial = torch.cuda.CUDAGraph()
        with (
            contextlib.suppress(RuntimeError),  # the device itself is broken
            torch.cuda.graph(trivial, stream=self._stream, capture_error_mode="thread_local"),
        ):
            torch.zeros(1, device=self._device)


def _stream_kept() -> AbstractContextManager[Any]:
    """The current stream is current again afterwards, though a capture that fails leaves its own one behind."""
    return torch.cuda.stream(torch.cuda.current_stream())


class GraphRunner:
    """Runs ``step`` on batches of any size up to the largest bucket.

    Args:
        step: ``step(*resident, *batched) -> tuple of tensors [b, ...]``, the same launches every time: no value of a
            tensor may reach Python, no shape depend on one, nothing be random or copied to or from the host.
        resident: tensors on one device that ``step`` reads at their own addresses.
        batched: examples of the tensors [n >= 1, ...] that come with each batch, on any device; row 0 must be valid.
        buckets: batch sizes to capture, at least one, each at least 1.
        weights: tensors that ``step`` reaches by itself; that they stay where they are is checked.
        capture: makes the recorder for a device.

    Attributes:
        mode: ``graphs for batches of 4, 16`` or ``eager: <why>``; the latter is also printed to stderr.

    Raises:
        ValueError: no resident tensor, no batched one, or no bucket; or a bucket below 1.
    """

    @torch.inference_mode()
    def __init__(
        self,
        step: Callable[..., Tensors],
        resident: Sequence[Tensor],
        batched: Sequence[Tensor],
        buckets: Iterable[int],
        *,
        weights: Iterable[Tensor] = (),
        capture: Callable[[torch.device], Capture] = CudaCapture,
    ) -> None:
        self._buckets = sorted(set(buckets))
        if not resident or not batched or not self._buckets or self._buckets[0] < 1:
            raise ValueError(
                "expected at least one resident and one batched tensor, and buckets from 1; "
                f"found {len(resident)}, {len(batched)} and {self._buckets}"
            )
        self._step, self._resident = step, tuple(resident)
        device, most = resident[0].device, self._buckets[-1]
        self._batched = tuple(b[:1].to(device).expand(most, *b.shape[1:]).clone() for b in batched)
        groups = {"resident": self._resident, "batched": self._batched, "weights": tuple(weights)}
        self._fixed = [(f"{name}[{i}]", t, t.data_ptr()) for name, group in groups.items() for i, t in enumerate(group)]
        self._graphs: dict[int, Captured] = {}
        try:
            record = capture(device)
            for bucket in reversed(self._buckets):  # the largest first: the smaller ones fit into its memory
                self._graphs[bucket] = record(partial(self._eager, bucket))
            self.mode = f"graphs for batches of {', '.join(map(str, self._buckets))}"
        except RuntimeError as error:  # also one of the step itself: run eagerly, it comes again
            self._graphs.clear()
            self.mode = f"eager: {(str(error).strip() or repr(error)).splitlines()[0]}"
            print(f"aedmae_fast: no CUDA graphs, {self.mode}", file=sys.stderr)

    @torch.inference_mode()
    def __call__(self, *batched: Tensor) -> Tensors:
        """Results of ``step`` on a batch, on the current stream, which has to be the same for every call.

        Args:
            batched: [n, ...] each, 1 <= n <= the largest bucket; shapes and dtypes as in the examples, on the host
                (then pinned, or the call waits) or the device.

        Returns:
            Tensors [n, ...], valid until the next call.

        Raises:
            TypeError: a dtype is not the example's.
            ValueError: a shape is not the example's, or n is out of range.
            RuntimeError: a tensor that the graphs read has moved.
        """
        count = self._check(batched)
        bucket = self._buckets[bisect.bisect_left(self._buckets, count)]
        for buffer, rows in zip(self._batched, batched, strict=True):
            buffer[:count].copy_(rows, non_blocking=True)
            if count < bucket:
                buffer[count:bucket].copy_(buffer[count - 1 : count].expand(bucket - count, *buffer.shape[1:]))
        if bucket in self._graphs:
            self._check_addresses()
            replay, outputs = self._graphs[bucket]
            replay()
        else:
            outputs = self._eager(bucket)
        return tuple(output[:count] for output in outputs)

    def _eager(self, bucket: int) -> Tensors:
        return self._step(*self._resident, *(buffer[:bucket] for buffer in self._batched))

    def _check(self, batched: Sequence[Tensor]) -> int:
        if len(batched) != len(self._batched):
            raise ValueError(f"expected {len(self._batched)} batched tensors, found {len(batched)}")
        count = len(batched[0])
        if not 1 <= count <= self._buckets[-1]:
            raise ValueError(f"batched[0]: expected 1..{self._buckets[-1]} rows, found {count}")
        for i, (rows, buffer) in enumerate(zip(batched, self._batched, strict=True)):
            if rows.dtype != buffer.dtype:
                raise TypeError(f"batched[{i}]: expected {buffer.dtype}, found {rows.dtype}")
            if rows.shape != (count, *buffer.shape[1:]):
                raise ValueError(f"batched[{i}]: expected {(count, *buffer.shape[1:])}, found {tuple(rows.shape)}")
        return count

    def _check_addresses(self) -> None:
        for name, tensor, address in self._fixed:
            if tensor.data_ptr() != address:
                raise RuntimeError(
                    f"{name} was captured at {address:#x} and lies at {tensor.data_ptr():#x} now: the graphs would read"
                    " the old memory; fill it in place, or build a new GraphRunner"
                )
