"""Captured batches: the logic on the CPU's twin of a graph, and graphs themselves on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from aedmae_fast.config import PRESETS
from aedmae_fast.engine import graph
from aedmae_fast.engine.graph import Capture, CudaCapture, GraphRunner
from aedmae_fast.engine.runner import Runner
from aedmae_fast.model.masks import mask_bank
from aedmae_fast.model.network import AedMae
from tests.engine.graph_twin import CaptureTwin, IllegalInCapture

BUCKETS = (2, 5, 8)
RING = 12


def add_rows(table: Tensor, index: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """[R, 3], [b], [b, 1] -> [b, 3], [b]."""
    rows = table.index_select(0, index) + shift
    return rows, rows.mul_(2).sum(1)


def example() -> tuple[Tensor, list[Tensor]]:
    return torch.randn(RING, 3), [torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1)]


def batch(count: int) -> list[Tensor]:
    return [torch.randint(RING, (count,)), torch.randn(count, 1)]


def test_every_batch_size_equals_eager() -> None:
    table, batched = example()
    runner = GraphRunner(add_rows, [table], batched, BUCKETS, capture=CaptureTwin)
    assert runner.mode == "graphs for batches of 2, 5, 8"
    for count in (*range(1, 9), 3, 1, 8):
        table.copy_(torch.randn(RING, 3))  # as the caller fills the ring
        inputs = batch(count)
        for found, expected in zip(runner(*inputs), add_rows(table, *inputs), strict=True):
            assert torch.equal(found, expected)


def test_the_largest_bucket_is_captured_first() -> None:
    twins: list[CaptureTwin] = []

    def capture(device: torch.device) -> CaptureTwin:
        twins.append(CaptureTwin(device))
        return twins[-1]

    table, batched = example()
    GraphRunner(add_rows, [table], batched, [5, 2, 8, 5], capture=capture)
    assert [twin.sizes for twin in twins] == [[8, 5, 2]]


@pytest.mark.parametrize(("count", "bucket"), [(1, 2), (2, 2), (3, 5), (5, 5), (6, 8), (8, 8)])
def test_the_next_bucket_runs_padded_with_the_last_row(count: int, bucket: int) -> None:
    seen: list[Tensor] = []

    def step(table: Tensor, index: Tensor) -> tuple[Tensor]:
        seen.append(index.clone())
        return (table.index_select(0, index),)

    runner = GraphRunner(step, [torch.randn(RING, 3)], [torch.zeros(1, dtype=torch.int64)], BUCKETS)  # eager
    (found,) = runner(torch.arange(1, count + 1))
    assert seen[-1].tolist() == [*range(1, count + 1)] + [count] * (bucket - count)
    assert len(found) == count


def test_results_lie_where_they_lay() -> None:
    table, batched = example()
    runner = GraphRunner(add_rows, [table], batched, [4], capture=CaptureTwin)
    assert [t.data_ptr() for t in runner(*batch(3))] == [t.data_ptr() for t in runner(*batch(4))]


def test_the_twin_bakes_in_what_python_decides() -> None:
    calls = iter(range(100))
    runner = GraphRunner(
        lambda x, y: (x[:1] * 0 + y + next(calls),), [torch.ones(1)], [torch.zeros(1)], [1], capture=CaptureTwin
    )
    first, second = (runner(torch.zeros(1))[0].item() for _ in range(2))
    assert first == second


def test_a_tensor_that_moved_is_an_error() -> None:
    table, batched = example()
    weights = [torch.ones(3), torch.ones(3)]
    runner = GraphRunner(add_rows, [table], batched, BUCKETS, weights=weights, capture=CaptureTwin)
    runner(*batch(3))
    kept = weights[1].data
    weights[1].data = torch.ones(3)
    with pytest.raises(RuntimeError, match=r"weights\[1\] was captured at 0x\w+ and lies at 0x\w+ now"):
        runner(*batch(3))
    weights[1].data = kept
    runner(*batch(3))
    table.data = torch.randn(RING, 3)
    with pytest.raises(RuntimeError, match=r"resident\[0\] was captured at"):
        runner(*batch(3))


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.to(device=torch.device("cpu"), dtype=torch.float64),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.index_put_((x > 0,), torch.zeros(())),
        lambda x: x[[0, 0]],
        lambda x: x.unique(),
        lambda x: torch.rand_like(x),
        lambda x: torch.nn.functional.dropout(x),
        lambda x: x.uniform_(),
        lambda x: x + torch.tensor(1.0),
    ],
)
def test_the_twin_refuses_what_a_capture_would(operation: Callable[[Tensor], Any]) -> None:
    def run() -> tuple[Tensor]:
        operation(x)
        return (x,)

    x = torch.ones(2, 3)
    with pytest.raises(IllegalInCapture):
        CaptureTwin(x.device)(run)


def test_where_graphs_cannot_be_had_it_runs_eagerly_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    table, batched = example()
    runner = GraphRunner(add_rows, [table], batched, BUCKETS)
    assert runner.mode == "eager: CUDA graphs need a CUDA device, found cpu"
    assert capsys.readouterr().err == f"aedmae_fast: no CUDA graphs, {runner.mode}\n"
    inputs = batch(4)
    assert torch.equal(runner(*inputs)[0], add_rows(table, *inputs)[0])


def test_one_bucket_that_cannot_be_captured_makes_all_eager(capsys: pytest.CaptureFixture[str]) -> None:
    def step(table: Tensor, index: Tensor, shift: Tensor) -> tuple[Tensor, ...]:
        if len(index) == 5:
            shift.sum().item()
        return add_rows(table, index, shift)

    table, batched = example()
    runner = GraphRunner(step, [table], batched, BUCKETS, capture=CaptureTwin)
    assert runner.mode == "eager: aten._local_scalar_dense.default: a tensor's value on the host"
    assert runner.mode in capsys.readouterr().err
    for count in (2, 5):
        inputs = batch(count)
        assert torch.equal(runner(*inputs)[0], add_rows(table, *inputs)[0])


class InvalidCapture:
    """``torch.cuda`` as it is when a capture fails: its stream stays current, its pool in use, its generator capturing.

    Captures into a pool that is given fail; others, which have one of their own, succeed.
    """

    CUDAGraph = SimpleNamespace

    def __init__(self) -> None:
        self.waits: list[tuple[str, SimpleNamespace]] = []
        self.current = self._stream("current")
        self.capturing = False

    def _stream(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, wait_stream=lambda other: self.waits.append((name, other.name)))

    def Stream(self, device: torch.device) -> SimpleNamespace:
        return self._stream("own")

    def current_stream(self) -> SimpleNamespace:
        return self.current

    def current_device(self) -> int:
        return 1

    def graph_pool_handle(self) -> tuple[int, int]:
        return (0, 7)

    def device(self, device: torch.device) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def stream(self, stream: SimpleNamespace) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def graph(
        self, graph: Any, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"
    ) -> Iterator[None]:
        before, self.current, self.capturing = self.current, stream, True
        yield
        if pool is not None:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.current, self.capturing = before, False


@pytest.mark.parametrize("ended", [False, True])
def test_a_capture_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, ended: bool) -> None:
    """Or what runs eagerly instead would run on the capture's stream, its memory and random numbers never come back."""

    def end(*of: Any) -> None:
        pools.append(of)
        if ended:
            raise RuntimeError("not currently recording to that pool")

    pools: list[Any] = []
    cuda = InvalidCapture()
    before = cuda.current
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(graph, "capture_stream", cuda.Stream)
    monkeypatch.setattr(graph, "_failed", failed := [])
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end, raising=False)
    monkeypatch.setattr(torch, "zeros", lambda size, device: None)
    with pytest.raises(RuntimeError, match="a previous error during capture"):
        CudaCapture(torch.device("cuda", 1))(lambda: ())
    assert cuda.current is before
    assert not cuda.capturing
    assert pools == [(1, (0, 7))]
    assert len(failed) == 1
    assert cuda.waits == [("own", "current"), ("current", "own")]


def test_a_warm_up_that_fails_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs next on the caller's stream may reuse its memory."""

    def run() -> tuple[Tensor, ...]:
        raise RuntimeError("out of memory")

    cuda = InvalidCapture()
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(graph, "capture_stream", cuda.Stream)
    with pytest.raises(RuntimeError, match="out of memory"):
        CudaCapture(torch.device("cuda", 1))(run)
    assert cuda.waits == [("own", "current"), ("current", "own")]


def test_an_error_of_the_step_itself_is_no_reason_to_fall_back() -> None:
    table, batched = example()

    def step(*inputs: Tensor) -> tuple[Tensor]:
        raise KeyError("a fault")

    with pytest.raises(KeyError, match="a fault"):
        GraphRunner(step, [table], batched, BUCKETS, capture=CaptureTwin)


@pytest.mark.parametrize(
    ("error", "match", "inputs"),
    [
        (ValueError, r"expected 2 batched tensors, found 1", [torch.zeros(1, dtype=torch.int64)]),
        (ValueError, r"batched\[0\]: expected 1..8 rows, found 0", batch(0)),
        (ValueError, r"batched\[0\]: expected 1..8 rows, found 9", batch(9)),
        (TypeError, r"batched\[0\]: expected torch.int64, found torch.float32", [torch.zeros(3), torch.zeros(3, 1)]),
        (ValueError, r"batched\[1\]: expected \(3, 1\), found \(2, 1\)", [*batch(3)[:1], torch.zeros(2, 1)]),
    ],
)
def test_errors_name_the_argument(error: type[Exception], match: str, inputs: list[Tensor]) -> None:
    table, batched = example()
    runner = GraphRunner(add_rows, [table], batched, BUCKETS, capture=CaptureTwin)
    with pytest.raises(error, match=match):
        runner(*inputs)


def test_nothing_to_capture_is_an_error() -> None:
    table, batched = example()
    for resident, examples, buckets in (([], batched, [1]), ([table], [], [1]), ([table], batched, [])):
        with pytest.raises(ValueError, match="expected at least one resident and one batched tensor"):
            GraphRunner(add_rows, resident, examples, buckets)
    with pytest.raises(ValueError, match=r"buckets from 1; found 1, 2 and \[0, 4\]"):
        GraphRunner(add_rows, [table], batched, [4, 0])


# The engine's step, from rows of frames to the terms of the score and rows of maps


def check_step(model: AedMae, capture: Callable[[torch.device], Capture], device: str, preset: str) -> None:
    """Captured equals eager, bit for bit, in every bucket, with maps and without."""
    c, masks = model.config, mask_bank(model.config).to(device)
    step = Runner(model, PRESETS[preset], device, "fp32", 1).step
    frames = torch.randint(0, 256, (RING, c.height, c.width, 3), dtype=torch.uint8, device=device)
    maps = torch.full((RING, c.height, c.width), torch.nan, device=device)
    batched = [torch.zeros(1, 3, dtype=torch.int64), *torch.zeros(2, 1, dtype=torch.int64)]
    runner = GraphRunner(step, [masks, frames, maps], batched, BUCKETS, capture=capture)
    plain = GraphRunner(step, [masks, frames, maps], batched[:2], BUCKETS, capture=capture)
    assert runner.mode.startswith("graphs for"), runner.mode
    assert plain.mode.startswith("graphs for"), plain.mode
    for count in (8, 5, 2, 8, 7):
        frames.copy_(torch.randint(0, 256, frames.shape, dtype=torch.uint8))  # as the ring is filled
        windows, mask_ids = torch.randint(RING, (count, 3)), torch.randint(c.mask_count, (count,))
        map_rows = torch.randperm(RING)[:count]
        expected_maps = maps.clone()
        (expected,) = step(masks, frames, expected_maps, *(t.to(device) for t in (windows, mask_ids, map_rows)))
        (found,) = runner(windows, mask_ids, map_rows)
        assert torch.equal(found, expected)
        torch.testing.assert_close(maps, expected_maps, rtol=0, atol=0, equal_nan=True)
        assert maps[map_rows].isfinite().all()
        maps.fill_(torch.nan)
        assert torch.equal(plain(windows, mask_ids)[0], expected)
        assert maps.isnan().all()


@pytest.mark.parametrize("preset", ["paper", "release-avenue"])
def test_the_step_can_be_captured(tiny_model: AedMae, preset: str) -> None:
    check_step(tiny_model, CaptureTwin, "cpu", preset)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("preset", ["paper", "release-avenue"])
def test_on_gpu_captured_equals_eager(tiny_model: AedMae, preset: str) -> None:
    check_step(tiny_model, CudaCapture, "cuda", preset)


@pytest.mark.needs_cuda
def test_on_gpu_what_cannot_be_captured_runs_eagerly(capsys: pytest.CaptureFixture[str]) -> None:
    runner = GraphRunner(lambda x, y: (y * x.sum().item(),), [torch.ones(3, device="cuda")], [torch.zeros(1)], [2, 4])
    assert runner.mode.startswith("eager: ")
    assert "no CUDA graphs" in capsys.readouterr().err
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert runner(torch.ones(3))[0].tolist() == [3.0] * 3
    assert torch.randn(2, device="cuda").isfinite().all()  # a generator may take the capture to be still under way
