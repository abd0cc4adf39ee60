"""Decoding threads: bounded memory, prompt stop, files closed, troubles kept to their clip."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from aedmae_fast.engine import feed as feed_module
from aedmae_fast.engine.feed import BLOCK, DEPTH, Block, Ended, Feed, FeedEvent, NoAnswerError, Opened
from aedmae_fast.video import Chunk, Outcome, Status, VideoInfo
from aedmae_fast.video.pulse import pulse


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


def events(videos: list[FakeVideo], workers: int) -> list[FeedEvent]:
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
    iterator.close()
    assert video.closed
    assert not [t for t in threading.enumerate() if t.name.startswith("decode-")]


def test_nothing_to_decode() -> None:
    assert events([], workers=2) == []


class HangingVideo(FakeVideo):
    """Hangs before frame ``at`` until it is released."""

    def __init__(self, count: int, at: int) -> None:
        super().__init__(count)
        self.release = threading.Event()
        self._at = at

    def __iter__(self) -> Iterator[Chunk]:
        for t, chunk in enumerate(super().__iter__()):
            if t == self._at:
                assert self.release.wait(60)
            yield chunk


class SearchingVideo(FakeVideo):
    """Reads for three seconds before its first frame."""

    def __iter__(self) -> Iterator[Chunk]:
        for _ in range(30):
            time.sleep(0.1)
            pulse()
        yield from super().__iter__()


class SlowVideo(FakeVideo):
    """A frame every 50 ms."""

    def __iter__(self) -> Iterator[Chunk]:
        for chunk in super().__iter__():
            time.sleep(0.05)
            yield chunk


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of silence are a hanging decoder."""
    monkeypatch.setattr(feed_module, "HANGS", 2.0)
    monkeypatch.setattr(feed_module, "LOOK", 0.01)
    monkeypatch.setattr(feed_module, "CLOSING", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("at", [0, BLOCK + 1])
def test_a_decoder_that_hangs_costs_its_clip_only(workers: int, at: int) -> None:
    videos = [FakeVideo(3), HangingVideo(30, at), SlowVideo(30)]
    try:
        found = events(videos, workers)
    finally:
        videos[1].release.set()  # type: ignore[attr-defined]
    ends = [event for event in found if isinstance(event, Ended)]
    assert {end.clip: end.outcome.status for end in ends} == {0: Status.OK, 1: Status.FAILED, 2: Status.OK}
    assert len(ends) == 3
    assert "hangs" in ends[[end.clip for end in ends].index(1)].outcome.reason
    frames = [sum(len(e.frames) for e in found if isinstance(e, Block) and e.clip == clip) for clip in range(3)]
    assert frames == [3, at // BLOCK * BLOCK, 30]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("workers", [1, 3])
def test_when_one_after_the_other_hangs_it_is_no_clips_trouble(workers: int) -> None:
    """Else an outage of ten hours fails an archive file by file, and leaves a thread behind for each."""
    videos = [FakeVideo(3), *(HangingVideo(30, 0) for _ in range(20))]
    sources = [lambda: videos[0], *(partial(opening_for_ever, video) for video in videos[1:])]
    found: list[FeedEvent] = []
    before = threading.active_count()
    try:
        with pytest.raises(NoAnswerError, match=f"^{workers + 1} files in a row gave nothing for 2 seconds: the disk"):
            found.extend(Feed(sources, (2, 4), workers))
        assert threading.active_count() - before <= 3 * workers
    finally:
        for video in videos[1:]:
            video.release.set()  # type: ignore[attr-defined]


def opening_for_ever(video: HangingVideo) -> FakeVideo:
    video.release.wait(60)
    return video


@pytest.mark.usefixtures("impatient")
def test_a_sign_of_life_between_two_that_hang_is_enough() -> None:
    videos = [HangingVideo(30, 0), FakeVideo(3), HangingVideo(30, 0), FakeVideo(3)]
    sources = [partial(opening_for_ever, v) if isinstance(v, HangingVideo) else lambda v=v: v for v in videos]  # type: ignore[misc]
    try:
        ends = [event for event in Feed(sources, (2, 4), 1) if isinstance(event, Ended)]
    finally:
        for video in videos[::2]:
            video.release.set()  # type: ignore[attr-defined]
    assert [end.outcome.status for end in ends] == [Status.FAILED, Status.OK, Status.FAILED, Status.OK]


@pytest.mark.usefixtures("impatient")
def test_one_that_opens_for_ever_too() -> None:
    release = threading.Event()

    def opening() -> FakeVideo:
        release.wait(60)
        return FakeVideo(1)

    try:
        found = list(Feed([opening, lambda: FakeVideo(1)], (2, 4), 1))
    finally:
        release.set()
    assert [(event.clip, event.outcome.status) for event in found if isinstance(event, Ended)] == [
        (0, Status.FAILED),
        (1, Status.OK),
    ]


@pytest.mark.usefixtures("impatient")
def test_one_that_comes_back_is_not_listened_to() -> None:
    hanging, after = HangingVideo(3 * BLOCK, BLOCK), SlowVideo(20)
    found = []
    for event in Feed([lambda: hanging, lambda: after], (2, 4), 1):
        found.append(event)
        if event.clip == 1:
            hanging.release.set()
    assert [event.clip for event in found] == sorted(event.clip for event in found)
    deadline = time.monotonic() + 10
    while not hanging.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert hanging.closed  # its thread went on, closed the file, and took no other


@pytest.mark.usefixtures("impatient")
def test_one_that_reads_without_finding_a_frame_does_not_hang() -> None:
    found = events([SearchingVideo(3), FakeVideo(3)], workers=1)
    assert [event.outcome.status for event in found if isinstance(event, Ended)] == [Status.OK, Status.OK]


@pytest.mark.usefixtures("impatient")
def test_who_waits_for_the_consumer_does_not_hang() -> None:
    videos = [FakeVideo(20 * BLOCK), FakeVideo(3)]
    found = []
    for event in Feed([lambda v=v: v for v in videos], (2, 4), 1):  # type: ignore[misc]
        found.append(event)
        if len(found) == 2:
            time.sleep(2.5)
    assert [event.outcome.status for event in found if isinstance(event, Ended)] == [Status.OK, Status.OK]


def test_closing_waits_once_for_all_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "CLOSING", 2.0)
    videos = [HangingVideo(3 * BLOCK, 0) for _ in range(8)]
    iterator = iter(Feed([lambda v=v: v for v in videos], (2, 4), 8))  # type: ignore[misc]
    for _ in videos:
        assert isinstance(next(iterator), Opened)
    started = time.monotonic()
    try:
        iterator.close()
        assert 1.9 < time.monotonic() - started < 8 * feed_module.CLOSING
    finally:
        for video in videos:
            video.release.set()


@pytest.mark.usefixtures("impatient")
def test_closing_does_not_wait_for_one_that_hangs() -> None:
    hanging = HangingVideo(3 * BLOCK, BLOCK)
    iterator = iter(Feed([lambda: hanging], (2, 4), 1))
    next(iterator)
    started = time.monotonic()
    try:
        iterator.close()
        assert time.monotonic() - started < 10
    finally:
        hanging.release.set()
