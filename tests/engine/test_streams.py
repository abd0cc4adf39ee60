"""Decoders and compute on streams of their own: who marks, who waits, and that nothing is read too early or too late.

Without a GPU the order of calls is what is tested, on a stand-in for ``torch.cuda`` that notes them.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from aedmae_fast.engine import feed, streams
from aedmae_fast.engine.feed import BLOCK, Block, Feed
from aedmae_fast.engine.resident import Resident
from aedmae_fast.engine.streams import compute_stream, current, decode_stream, hand_over, on_stream
from aedmae_fast.video import Chunk, Outcome, Status, VideoInfo

GPU = torch.device("cuda", 0)
COMPUTE = "the stream of the compute"
NAP = 20_000_000  # clocks of a GPU: about 10 ms


@dataclass
class Cuda:
    """Streams and events that do nothing but note, in ``log``, what is called; the streams are their own names."""

    log: list[tuple[str, Any, Any]] = field(default_factory=list)
    made: list[Stream] = field(default_factory=list)
    threads: threading.local = field(default_factory=threading.local)

    def Stream(self, device: torch.device, priority: int = 0) -> Stream:
        self.made.append(Stream(self, f"stream {len(self.made)}", priority))
        return self.made[-1]

    def Event(self) -> Event:
        return Event(self)

    def current_stream(self, device: torch.device) -> Stream:
        return getattr(self.threads, "current", Stream(self, "the default stream"))

    @contextlib.contextmanager
    def stream(self, stream: Stream | None) -> Iterator[None]:
        before = self.current_stream(GPU)
        self.threads.current = stream or before
        yield
        self.threads.current = before


@dataclass(frozen=True)
class Stream:
    cuda: Cuda = field(repr=False, compare=False)
    name: str
    priority: int = 0

    def wait_event(self, event: Event) -> None:
        self.cuda.log.append(("wait", self.name, event))


class Event:
    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def record(self, stream: Stream) -> None:
        self.cuda.log.append(("record", stream.name, self))


class OnGpu(torch.Tensor):
    """A tensor on the host that says it is on a GPU."""

    is_cuda = True
    device = GPU
    cuda_log: list[tuple[str, Any, Any]]

    def record_stream(self, stream: Stream) -> None:
        stream.cuda.log.append(("keep", stream.name, self.data_ptr()))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    cuda = Cuda()
    monkeypatch.setattr(torch, "cuda", cuda)
    return cuda


class Clip:
    """Frames on the device, frame t of brightness t + 1, each made late."""

    def __init__(self, count: int, device: str = "cpu", nap: int = 0) -> None:
        self.info = VideoInfo(Path("clip"), 8, 4, 25.0, count, "none", "auto")
        self.outcome = Outcome(Status.OK, "")
        self._count, self._device, self._nap = count, device, nap

    def __iter__(self) -> Iterator[Chunk]:
        for t in range(self._count):
            plane = torch.zeros((1, 4, 8), dtype=torch.uint8, device=self._device)
            if self._nap:
                torch.cuda._sleep(self._nap)
            yield Chunk(t, (t / 25,), (plane.fill_(t + 1),), full_range=True)

    def close(self) -> None:
        pass


def test_a_cpu_has_no_streams() -> None:
    cpu = torch.device("cpu")
    assert compute_stream(cpu) is None
    assert decode_stream(cpu) is None
    hand_over(torch.zeros(1))()


def test_nothing_is_computed_on_the_stream_that_captures(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch deals out its streams over and over: here, two."""
    monkeypatch.setattr(streams, "_capture_stream", functools.cache(streams._capture_stream.__wrapped__))
    dealt = itertools.cycle([Stream(cuda, "one"), Stream(cuda, "other")])
    monkeypatch.setattr(cuda, "Stream", lambda device: next(dealt))
    assert {compute_stream(GPU) for _ in range(4)} == {Stream(cuda, "other")}
    assert streams.capture_stream(GPU) == Stream(cuda, "one")


def test_nothing_starts_cuda_for_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a GPU it would take memory there, and forbid to fork."""
    monkeypatch.setattr(torch, "cuda", None)
    with current(None):
        assert list(Feed([lambda: Clip(2 * BLOCK)], (4, 8), 1))
        rows = Resident((2,), torch.float32, torch.device("cpu")).lend(1)
        rows.add(torch.ones(1, 2))


def test_the_taker_waits_for_the_maker_and_keeps_the_memory(cuda: Cuda) -> None:
    x = torch.zeros(2).as_subclass(OnGpu)
    with cuda.stream(Stream(cuda, "maker")):
        take = hand_over(x)
    with cuda.stream(Stream(cuda, "taker")):
        take()
    assert [(what, who) for what, who, _ in cuda.log] == [("record", "maker"), ("wait", "taker"), ("keep", "taker")]
    assert cuda.log[0][2] is cuda.log[1][2]
    assert cuda.log[2][2] == x.data_ptr()


def test_on_one_stream_there_is_nothing_to_wait_for(cuda: Cuda) -> None:
    with cuda.stream(Stream(cuda, "both")):
        hand_over(torch.zeros(2).as_subclass(OnGpu))()
    assert [what for what, *_ in cuda.log] == ["record"]


def test_every_decoder_has_a_stream_and_every_block_is_waited_for(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: dict[int, set[str]] = {}  # streams that frame_prep ran on, by thread

    def prepare(planes: list[torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        launched.setdefault(threading.get_ident(), set()).add(cuda.current_stream(GPU).name)
        return planes[0][..., None].expand(-1, -1, -1, 3).as_subclass(OnGpu)

    monkeypatch.setattr(feed, "frame_prep", prepare)
    clips = [Clip(3 * BLOCK + 1) for _ in range(6)]
    taken = []
    with cuda.stream(Stream(cuda, COMPUTE)):
        for event in Feed([lambda c=c: c for c in clips], (4, 8), 3, device=GPU):  # type: ignore[misc]
            if isinstance(event, Block):
                taken.append(event.frames.data_ptr())
                own = [entry for entry in list(cuda.log) if entry[1] == COMPUTE]  # decoders go on meanwhile
                assert own[-1] == ("keep", COMPUTE, taken[-1])  # before the consumer saw it
    assert len(taken) == 6 * 4
    assert all(stream.priority < 0 for stream in cuda.made)
    names = {stream.name for stream in cuda.made}
    assert len(names) == 3
    assert all(len(own) == 1 for own in launched.values())
    assert set.union(*launched.values()) <= names
    recorded = {event: who for what, who, event in cuda.log if what == "record"}
    waited = [event for what, who, event in cuda.log if (what, who) == ("wait", COMPUTE)]
    assert set(recorded.values()) <= names
    assert len(waited) == len(set(waited)) == len(taken)
    assert set(waited) == recorded.keys()


def test_rows_are_written_on_the_stream_that_reads_them(cuda: Cuda) -> None:
    reader = Stream(cuda, COMPUTE)
    rows = Resident((2,), torch.float32, torch.device("cpu"), reader).lend(3)  # type: ignore[arg-type]
    rows.add(torch.ones(2, 2))  # from the host: nothing to wait for
    assert cuda.log == []
    rows.add(torch.ones(1, 2).as_subclass(OnGpu))
    order = [("record", "the default stream"), ("wait", COMPUTE), ("keep", COMPUTE)]
    assert [(what, who) for what, who, _ in cuda.log] == order
    assert cuda.current_stream(GPU).name == "the default stream"


def test_steps_run_on_their_stream_and_the_caller_on_its_own(cuda: Cuda) -> None:
    closed_on = []

    def steps() -> Generator[str, None, None]:
        try:
            while True:
                yield cuda.current_stream(GPU).name
        finally:
            closed_on.append(cuda.current_stream(GPU).name)

    found = on_stream(Stream(cuda, COMPUTE), steps())  # type: ignore[arg-type]
    assert [next(found), next(found)] == [COMPUTE, COMPUTE]
    assert cuda.current_stream(GPU).name == "the default stream"
    found.close()
    assert closed_on == [COMPUTE]
    assert list(on_stream(None, (i for i in range(3)))) == [0, 1, 2]


# What only a GPU shows


@pytest.mark.needs_cuda
@pytest.mark.parametrize("late", ["maker", "taker"])
def test_on_gpu_frames_are_whole_when_read_and_stay_until_then(late: str) -> None:
    """A late maker: without the wait its frames are read unwritten. A late taker: they are written over."""
    count = 12 * BLOCK
    clip = Clip(count, "cuda", NAP if late == "maker" else 0)
    copies = []
    with torch.cuda.stream(compute_stream(GPU)):
        for event in Feed([lambda: clip], (4, 8), 1, device=GPU):
            if isinstance(event, Block):
                if late == "taker":
                    torch.cuda._sleep(4 * NAP)
                copies.append(event.frames[:, 0, 0, 0].clone())
                del event
        found = torch.cat(copies).tolist()
    assert found == list(range(1, count + 1))


@pytest.mark.needs_cuda
def test_on_gpu_rows_wait_for_what_is_written_there() -> None:
    stream = compute_stream(GPU)
    rows = Resident((1024,), torch.float32, GPU, stream).lend(4)
    torch.cuda._sleep(4 * NAP)
    content = torch.full((4, 1024), 3.0, device=GPU)
    (first, *_) = rows.add(content)
    del content
    torch.zeros((4, 1024), device=GPU)  # where it was
    with torch.cuda.stream(stream):
        assert rows._resident.tensor[first : first + 4].eq(3).all()
