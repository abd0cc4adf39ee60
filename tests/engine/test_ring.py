"""Windows as index arithmetic: the true neighbours, the frame itself where they do not exist, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from aedmae_fast.engine.resident import Resident, Rows
from aedmae_fast.engine.ring import FrameRing, MapRing, Window


def windows_by_hand(count: int, stride: int) -> list[tuple[int, tuple[int, int, int]]]:
    def neighbour(t: int, offset: int) -> int:
        return t + offset if 0 <= t + offset < count else t

    return [(t, (neighbour(t, -3), t, neighbour(t, 3))) for t in range(0, count, stride)]


def rows_of(count: int) -> tuple[Resident, Rows]:
    resident = Resident((2, 2, 3), torch.uint8, torch.device("cpu"))
    return resident, resident.lend(count)


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("block", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 23])
def test_windows(count: int, block: int, stride: int) -> None:
    """However the clip is cut into blocks, in the least room; frame t carries the value t in its pixels."""
    resident, rows = rows_of(6 + block)
    ring = FrameRing(rows, stride)
    frames = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 2, 2, 3)
    found = []
    for start in range(0, count + 1, block):
        windows = ring.push(frames[start : start + block]) if start < count else ring.finish()
        for window in list(windows) + (list(ring.finish()) if start < count <= start + block else []):
            found.append((window.frame, tuple(int(resident.tensor[row, 0, 0, 0]) for row in window.rows)))
            rows.release(window.rows)
    assert found == windows_by_hand(count, stride)
    assert ring.count == count
    assert rows.free == 6 + block


def test_a_window_is_ready_three_frames_later() -> None:
    ring, frame = FrameRing(rows_of(6)[1]), torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    ready = [[w.frame for w in ring.push(frame)] for _ in range(6)]
    assert ready == [[], [], [], [0], [1], [2]]


def test_what_a_window_sees_is_not_written_over() -> None:
    """Its frames stay until it is computed, however far the clip goes on meanwhile."""
    resident, rows = rows_of(40)
    ring = FrameRing(rows)
    frames = torch.arange(30, dtype=torch.uint8)[:, None, None, None].expand(-1, 2, 2, 3)
    first = list(ring.push(frames[:8]))[4]
    for t in range(8, 30):
        for window in ring.push(frames[t : t + 1]):
            rows.release(window.rows)
    assert [int(resident.tensor[row, 0, 0, 0]) for row in first.rows] == [1, 4, 7]


@pytest.mark.parametrize("stride", [2, 7, 20])
def test_frames_that_no_window_sees_are_not_kept(stride: int) -> None:
    _, rows = rows_of(7)
    ring, frame = FrameRing(rows, stride), torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    for _ in range(100):
        for window in ring.push(frame):
            rows.release(window.rows)
        assert 7 - rows.free <= (6 if stride == 2 else 3)


@pytest.mark.parametrize("extent", [1, 3, 9])
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("count", [0, 1, 4, 30])
def test_windows_of_maps(count: int, stride: int, extent: int) -> None:
    """Those of the scored frames in reach, oldest first; in the room of the reach and the map that comes."""
    rows = Resident((1,), torch.float32, torch.device("cpu")).lend(extent)
    ring, frames, row_of = MapRing(rows, extent), list(range(0, count, stride)), {}
    found = {}

    def take(windows: Iterable[Window]) -> None:
        for window in windows:
            at = {row: frame for frame, row in row_of.items()}  # of frames that share a row the last
            found[window.frame] = [at[row] for row in window.rows]
            rows.release(window.rows)

    for frame in frames:
        row_of[frame] = rows.take()
        take(ring.push(frame, row_of[frame]))
    take(ring.finish())
    assert list(found) == frames
    for frame in frames:
        assert found[frame] == [other for other in frames if abs(other - frame) <= extent // 2]
    assert rows.free == extent
