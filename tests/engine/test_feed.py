"""Decoding threads: bounded memory, prompt stop, files closed, troubles kept to their clip."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from aedmae_fast.engine.feed import BLOCK, DEPTH, Block, Ended, Event, Feed, Opened
from aedmae_fast.video import Chunk, Outcome, Status, VideoInfo


class FakeVideo:
    """``count`` grey frames, frame t of brightness t; counts what was decoded and whether it was closed."""

    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.info = VideoInfo(Path("fake"), 8, 4, 25.0, count, "fake", "auto")
        self.outcome = Outcome(Status.OK, "")
        self.decoded = 0
        self.closed = False
        self._count, self._fail_at = count, fail_at

    def __iter__(self) -> Iterator[Chunk]:
        for t in range(self._count):
            if t == self._fail_at:
                raise MemoryError("out of planes")
            self.decoded += 1
            yield Chunk(t, (t / 25,), (torch.full((1, 4, 8), t % 256, dtype=torch.uint8),), full_range=True)

    def close(self) -> None:
        self.closed = True


def events(videos: list[FakeVideo], workers: int) -> list[Event]:
    return list(Feed([lambda v=v: v for v in videos], (2, 4), workers))  # type: ignore[misc]


def test_events_of_a_clip_come_in_order_and_whole() -> None:
    videos = [FakeVideo(n) for n in (0, 1, BLOCK, BLOCK + 1, 50)]
    found = events(videos, workers=3)
    for clip, video in enumerate(videos):
        own = [event for event in found if event.clip == clip]
        assert isinstance(own[0], Opened)
        assert own[0].info is video.info
        assert own[-1] == Ended(clip, Outcome(Status.OK, ""))
        blocks = [event for event in own if isinstance(event, Block)]
        assert len(blocks) == len(own) - 2
        values = [int(frame[0, 0, 0]) for block in blocks for frame in block.frames]
        assert values == list(range(video.decoded))
        assert [t for block in blocks for t in block.times] == [t / 25 for t in range(video.decoded)]
        assert all(block.frames.shape[1:] == (2, 4, 3) for block in blocks)
        assert video.closed


def test_a_crash_ends_its_clip_only() -> None:
    videos = [FakeVideo(3), FakeVideo(30, fail_at=20), FakeVideo(3)]
    ends = {event.clip: event.outcome for event in events(videos, workers=1) if isinstance(event, Ended)}
    assert [ends[i].status for i in range(3)] == [Status.OK, Status.FAILED, Status.OK]
    assert ends[1].reason == "MemoryError: out of planes"
    assert all(video.closed for video in videos)


def test_decoding_waits_for_the_consumer() -> None:
    """Memory is bounded: no more is decoded ahead than the queue holds, a block in hand, and the one that was taken."""
    video = FakeVideo(100_000)
    feed = Feed([lambda: video], (2, 4), workers=1)
    iterator = iter(feed)
    assert isinstance(next(iterator), Opened)
    time.sleep(0.5)
    assert video.decoded <= (DEPTH + 2) * BLOCK
    iterator.close()  # type: ignore[attr-defined]
    assert video.closed
    assert not [t for t in threading.enumerate() if t.name.startswith("decode-")]


def test_nothing_to_decode() -> None:
    assert events([], workers=2) == []
