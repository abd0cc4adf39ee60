"""The runner behind the loop: graphs and threads give the same bits, rows are not written over, nobody waits."""

from __future__ import annotations

import gc
import os
import resource
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from aedmae_fast import Scorer
from aedmae_fast.config import CONFIGS, PRESETS, WINDOW
from aedmae_fast.engine import runner as runner_module
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.ring import Window
from aedmae_fast.engine.runner import Batch, Computed, Runner
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.region import Region
from tests.clips import write_clip
from tests.conftest import TINY
from tests.engine.graph_twin import CaptureTwin
from tests.engine.test_scorer import assert_same, pixels


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_clip(folder / f"{n}.mp4", frames=n, size=(72, 40)) for n in (1, 26, 5, 2, 13, 3)]


@pytest.fixture
def graphs() -> Callable[..., Scorer]:
    """Makes scorers that run as on a GPU: micro-batches of 4, recorded and replayed by the twin."""

    def make(model: AedMae, **how: Any) -> Scorer:
        scorer = Scorer(model, device="cpu", precision="fp32", **how)
        scorer.runner = Runner(model, scorer.preset, "cpu", "fp32", 1, capture=CaptureTwin)
        scorer.runner.session(1, 1).close()
        assert scorer.runner._graphs[True].mode == "graphs for batches of 4"
        return scorer

    return make


def scores(scorer: Scorer, clips: list[Path]) -> list[ClipScores]:
    return list(scorer.score_many(clips))


def check(found: list[ClipScores], expected: list[ClipScores]) -> None:
    for f, e in zip(found, expected, strict=True):
        assert_same(f, e)


@pytest.mark.parametrize("preset", ["paper", "release-avenue"])
@pytest.mark.parametrize("stride", [1, 4])
def test_graphs_on_indices_give_the_scores_of_single_frames(
    tiny_model: AedMae, clips: list[Path], graphs: Callable[..., Scorer], preset: str, stride: int
) -> None:
    """Clips that share micro-batches, windows at both ends, micro-batches that are not full."""
    how = {"preset": preset, "stride": stride, "workers": 3, "batch_size": 10}
    single = Scorer(tiny_model, device="cpu", precision="fp32", **how)
    check(scores(graphs(tiny_model, **how), clips), scores(single, clips))


@pytest.mark.parametrize("stride", [1, 4])
def test_the_least_room_changes_nothing(
    tiny_model: AedMae, clips: list[Path], monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    """Then batches are cut short, and every row is written over again and again."""
    how: dict[str, Any] = {"preset": "paper", "stride": stride, "batch_size": 7, "workers": 2, "precision": "fp32"}
    expected = scores(Scorer(tiny_model, **how), clips)
    scorer = Scorer(tiny_model, **how)
    monkeypatch.setattr(scorer, "_room", lambda maps: (2 * 6 + 8, 2 * 8 + 2 * 7))
    check(scores(scorer, clips), expected)


def test_nothing_is_written_over_before_it_was_waited_for(
    tiny_model: AedMae, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if nothing that is submitted runs until then: the order of a stream is not what keeps rows safe."""
    how: dict[str, Any] = {"preset": "paper", "batch_size": 5, "workers": 2, "precision": "fp32"}
    expected = scores(Scorer(tiny_model, **how), clips)
    scorer = Scorer(tiny_model, **how)
    submit = scorer.runner.submit
    monkeypatch.setattr(scorer.runner, "submit", lambda batch, means: lambda: submit(batch, means)())
    monkeypatch.setattr(scorer, "_room", lambda maps: (2 * 6 + 8, 2 * 8 + 2 * 5))
    check(scores(scorer, clips), expected)


def test_clips_without_room_for_more_than_their_own_frames(tiny_model: AedMae) -> None:
    """A block is put away piece by piece, whatever its decoder hands over."""
    scorer = Scorer(tiny_model, batch_size=1, workers=1)
    assert scorer._room(maps=False)[0] < 30
    assert scorer.score_frames(pixels(90)).frames == 90


@pytest.mark.parametrize("as_graph", [False, True])
def test_several_loops_and_streams_at_a_time(
    tiny_model: AedMae, clips: list[Path], graphs: Callable[..., Scorer], as_graph: bool
) -> None:
    """Memory grows and moves under those that are at work, and graphs are captured anew; no score changes."""
    how: dict[str, Any] = {"preset": "paper", "batch_size": 6, "smoothing": False}
    fresh = partial(Scorer, tiny_model, device="cpu", precision="fp32", **how)
    expected, expected_clips = fresh().score_frames(pixels(30)), scores(fresh(), clips)
    scorer = graphs(tiny_model, **how) if as_graph else fresh()
    many = scorer.score_many(clips)
    found = [next(many), next(many)]  # batches are in flight now
    streams = [scorer.stream() for _ in range(3)]
    due: list[list[float]] = [[] for _ in streams]
    for frame in pixels(30):
        for stream, of_stream in zip(streams, due, strict=True):
            of_stream.extend(s.raw for s in stream.push(frame))
    check([*found, *many], expected_clips)
    for stream, of_stream in zip(streams, due, strict=True):
        of_stream.extend(s.raw for s in stream.finish())
        assert of_stream == expected.raw.tolist()


def test_a_capture_leaves_maps_in_use_alone(tiny_model: AedMae) -> None:
    """It runs the step, which writes a map; and it comes while others have theirs there."""
    runner = Runner(tiny_model, PRESETS["paper"], "cpu", "fp32", 1, capture=CaptureTwin)
    session, content = runner.session(2, 3), torch.rand(3, TINY.height, TINY.width)
    rows, graph = session.maps.add(content), runner._graphs[True]
    runner.session(2, 3)
    assert runner._graphs[True] is not graph
    assert torch.equal(runner._maps.tensor[rows], content)


def test_weights_that_moved_are_an_error(tiny_model: AedMae) -> None:
    """A graph would go on reading where they were."""
    region = Region(torch.ones(TINY.height, TINY.width, dtype=torch.bool))
    runner = Runner(tiny_model, PRESETS["paper"], "cpu", "fp32", 1, region, CaptureTwin)
    session = runner.session(1, 0)
    batch = Batch([Window(0, tuple(session.frames.add(torch.zeros(1, TINY.height, TINY.width, 3)) * 3))], [], [])
    session.submit(batch)()
    weights = runner._weights()
    held, left = {id(tensor) for tensor in weights}, [*vars(runner._model).values(), runner._inside]
    while left:  # whatever the network is made of, and in whatever it lies
        part = left.pop()
        assert not isinstance(part, torch.Tensor) or id(part) in held
        left += part if isinstance(part, tuple | list) else part.values() if isinstance(part, dict) else []
    assert len(held) > 50
    for tensor in weights:
        kept = tensor.data
        tensor.data = kept.clone()
        with pytest.raises(RuntimeError, match=r"weights\[\d+\] was captured at"):
            session.submit(batch)
        tensor.data = kept
    session.submit(batch)()


def test_room_is_given_back(tiny_model: AedMae, clips: list[Path]) -> None:
    """By loops that end, loops that are left, streams that end and streams that are forgotten."""
    scorer = Scorer(tiny_model, preset="paper", smoothing=False, batch_size=8)
    scores(scorer, clips)
    size = len(scorer.runner._frames.tensor), len(scorer.runner._maps.tensor)
    for _ in range(3):
        many = scorer.score_many(clips)
        next(many)
        many.close()  # type: ignore[attr-defined]
        for stream in (scorer.stream(), scorer.stream()):
            stream.push(pixels(1)[0])
        stream.finish()
        del stream
    assert (len(scorer.runner._frames.tensor), len(scorer.runner._maps.tensor)) == size


def test_a_stream_that_was_finished_takes_no_more(tiny_model: AedMae) -> None:
    stream = Scorer(tiny_model, smoothing=False).stream()
    stream.push(pixels(1)[0])
    assert [s.frame for s in stream.finish()] == [0]
    with pytest.raises(RuntimeError, match="this stream was finished"):
        stream.push(pixels(1)[0])


def test_the_mask_follows_the_frame_not_its_row(tiny_model: AedMae) -> None:
    runner = Runner(tiny_model, PRESETS["release-avenue"], "cpu", "fp32", 1)
    session = runner.session(1, 0)
    (row,) = session.frames.add(torch.randint(0, 256, (1, TINY.height, TINY.width, 3), dtype=torch.uint8))
    windows = [Window(t, (row,) * len(WINDOW)) for t in range(2 * TINY.mask_count)]
    terms = session.submit(Batch(windows, [], []))().terms
    assert terms[: TINY.mask_count] == terms[TINY.mask_count :]
    assert len(set(terms)) == TINY.mask_count


def test_in_inference_mode_and_out_of_it(tiny_model: AedMae) -> None:
    """Memory that was made inside of it is written outside of it."""
    scorer, fresh = (Scorer(tiny_model, preset="paper", precision="fp32") for _ in range(2))
    with torch.inference_mode():
        scorer.score_frames(pixels(5))
    assert_same(scorer.score_frames(pixels(5)), fresh.score_frames(pixels(5)))


def test_a_capture_that_fails_leaves_no_graph_on_memory_that_moved(tiny_model: AedMae) -> None:
    failing = False

    class Failing(CaptureTwin):
        def __call__(self, run: Any) -> Any:
            if failing:
                raise KeyboardInterrupt
            return super().__call__(run)

    runner = Runner(tiny_model, PRESETS["paper"], "cpu", "fp32", 1, capture=Failing)
    session = runner.session(1, 9)
    batch = Batch([Window(0, tuple(session.frames.add(torch.zeros(1, TINY.height, TINY.width, 3)) * 3))], [0], [])
    expected = session.submit(batch)().terms
    failing = True
    with pytest.raises(KeyboardInterrupt):
        runner.session(50, 50)
    with pytest.raises(RuntimeError, match="no graph: its capture failed"):
        session.submit(batch)
    failing = False
    size = len(runner._frames.tensor)
    runner.session(50, 50).close()  # finds the room that was made
    assert len(runner._frames.tensor) == size
    assert session.submit(batch)().terms == expected


def test_a_forgotten_stream_is_taken_back_without_waiting(tiny_model: AedMae) -> None:
    """Garbage collection may call in any thread, one that computes or holds a lock among them."""
    scorer = Scorer(tiny_model, preset="paper", smoothing=False)
    stream = scorer.stream()
    stream.push(pixels(1)[0])
    with scorer.runner._lock:
        del stream
    size = len(scorer.runner._frames.tensor)
    scorer.stream()
    assert len(scorer.runner._frames.tensor) == size


def within(seconds: float, call: Callable[[], object]) -> bool:
    """Whether a call ends in time; one that waits for ever is left to its thread."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_a_loop_may_be_left_where_a_batch_is_submitted(tiny_model: AedMae, clips: list[Path]) -> None:
    """There garbage collection may find it, with the lock held."""
    scorer = Scorer(tiny_model, preset="paper", batch_size=8)
    many = scorer.score_many(clips)
    next(many)
    with scorer.runner._lock:
        assert within(20, many.close)  # type: ignore[attr-defined]
    check(scores(scorer, clips[:2]), scores(Scorer(tiny_model, preset="paper"), clips[:2]))


def test_a_loop_may_be_left_by_a_thread_that_computes(
    tiny_model: AedMae, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There garbage collection may find it: it must not wait for the step that is in hand."""
    scorer = Scorer(tiny_model, preset="paper", batch_size=8, threads=1)
    many = scorer.score_many(clips)
    first, alone = next(many), scorer.runner._step_alone

    def collect(part: list[torch.Tensor]) -> torch.Tensor:
        many.close()  # type: ignore[attr-defined]
        return alone(part)

    monkeypatch.setattr(scorer.runner, "_step_alone", collect)
    found: list[ClipScores] = []
    assert within(20, lambda: found.append(scorer.score(clips[0])))
    check(found, [first])


def test_a_loop_may_be_left_by_a_thread_that_decodes(tiny_model: AedMae, clips: list[Path]) -> None:
    """There garbage collection may find it: the thread must not wait for itself, nor for those that wait for it."""
    left, troubles, taken = threading.Event(), [], threading.Event()

    def paths() -> Iterator[Path]:
        yield from clips[:2]
        taken.wait(20)
        started = time.monotonic()
        try:
            many.close()  # type: ignore[attr-defined]
        except Exception as error:
            troubles.append(error)
        troubles.extend(["it waited"] if time.monotonic() - started > 5 else [])
        left.set()
        yield clips[2]

    scorer = Scorer(tiny_model, preset="paper", workers=2)
    scores(scorer, clips)
    size = len(scorer.runner._frames.tensor)
    many = scorer.score_many(paths())
    next(many)
    taken.set()
    assert left.wait(20)
    assert troubles == []
    scores(scorer, clips)
    assert len(scorer.runner._frames.tensor) == size  # its rows were taken back


@pytest.mark.parametrize(
    ("count", "threads", "sizes"),
    [
        (0, 2, []),
        (1, 2, [1]),
        (2, 2, [1, 1]),  # few: each thread has one, and none has two
        (7, 2, [4, 3]),
        (8, 2, [4, 4]),
        (9, 2, [4, 4, 1]),  # many: four at a time
        (5, 1, [4, 1]),
    ],
)
def test_every_thread_has_its_share(
    tiny_model: AedMae, monkeypatch: pytest.MonkeyPatch, count: int, threads: int, sizes: list[int]
) -> None:
    runner = Runner(tiny_model, PRESETS["paper"], "cpu", "fp32", threads)
    alone = runner._step_alone
    dealt: list[list[int]] = []

    def record(part: list[torch.Tensor]) -> torch.Tensor:
        dealt.append(part[2].tolist())
        return alone(part)

    monkeypatch.setattr(runner, "_step_alone", record)
    session = runner.session(9, 9)
    rows = session.frames.add(torch.randint(0, 256, (9, TINY.height, TINY.width, 3), dtype=torch.uint8))
    places = [session.maps.take() for _ in range(count)]
    windows = [Window(t, (rows[t],) * len(WINDOW)) for t in range(count)]
    terms = session.submit(Batch(windows, places, []))().terms
    assert [len(part) for part in sorted(dealt)] == sizes
    assert [place for part in sorted(dealt) for place in part] == sorted(places)
    assert terms == [session.submit(Batch([w], [p], []))().terms[0] for w, p in zip(windows, places, strict=True)]


def test_steps_take_hardly_any_memory_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's tensors and its scratch memory lie where those of the steps before it lay: few pages are new.

    Of one frame at a time; of four, glibc gives up to a tenth of the pages back at a step's end and takes them again.
    """
    runner = Runner(AedMae(CONFIGS["avenue"]).eval(), PRESETS["paper"], "cpu", "fp32", 1)
    alone = runner._step_alone
    faults: list[int] = []  # of the computing thread, in each step

    def count(part: list[torch.Tensor]) -> torch.Tensor:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        terms = alone(part)
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
        return terms

    monkeypatch.setattr(runner, "_step_alone", count)
    c = CONFIGS["avenue"]
    session = runner.session(1, 1)
    row = session.frames.add(torch.zeros(1, c.height, c.width, 3, dtype=torch.uint8))[0]
    batch = Batch([Window(0, (row,) * len(WINDOW))], [session.maps.take()], [])
    for _ in range(16):
        session.submit(batch)()
    assert sum(faults[8:]) < 8 * 250, faults  # a step's tensors are 5500 pages, each a fault where it is new


def test_runners_that_are_gone_leave_nothing_for_a_fork(tiny_model: AedMae, monkeypatch: pytest.MonkeyPatch) -> None:
    def registered(**_: object) -> None:
        raise AssertionError("what is registered at a fork stays for ever")

    monkeypatch.setattr(os, "register_at_fork", registered)
    runner = Runner(tiny_model, PRESETS["paper"], "cpu", "fp32", 1)
    known = weakref.ref(runner)
    assert runner in runner_module._runners
    del runner
    gc.collect()
    assert known() is None


# What only a GPU shows


def submitted(runner: Runner, frames: torch.Tensor) -> Callable[[], Computed]:
    """The windows of a clip whose frames are all there, with the filter in time over all of their maps."""
    session = runner.session(len(frames), len(frames))
    rows, places = session.frames.add(frames), [session.maps.take() for _ in frames]
    windows = [Window(t, (rows[max(t - 3, 0)], rows[t], rows[min(t + 3, len(rows) - 1)])) for t in range(len(rows))]
    due = [Window(t, tuple(places[max(t - 4, 0) : t + 5])) for t in range(len(rows))]
    return session.submit(Batch(windows, places, due))


@pytest.mark.needs_cuda
def test_on_gpu_nobody_waits_before_the_results_are_wanted(tiny_model: AedMae) -> None:
    runner = Runner(tiny_model, PRESETS["paper"], "cuda", "bf16", 1)
    assert runner.device == torch.device("cuda", torch.cuda.current_device())
    frames = torch.randint(0, 256, (70, TINY.height, TINY.width, 3), dtype=torch.uint8).pin_memory()
    expected = submitted(runner, frames)()  # compiles and captures
    assert runner._graphs[True].mode.startswith("graphs for"), runner._graphs[True].mode
    session = runner.session(70, 70)  # where room is made there is a wait
    session.close()
    torch.cuda.synchronize()
    runner._wait = lambda: None  # type: ignore[method-assign]
    torch.cuda.set_sync_debug_mode("error")
    try:
        wait = submitted(runner, frames)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert wait() == expected


@pytest.mark.needs_cuda
def test_on_gpu_batches_and_company_change_nothing(tiny_model: AedMae, clips: list[Path]) -> None:
    how: dict[str, Any] = {"device": "cuda", "preset": "paper"}
    alone = [Scorer(tiny_model, batch_size=1, **how).score(clip) for clip in clips]
    check(scores(Scorer(tiny_model, batch_size=50, workers=3, **how), clips), alone)
