"""Windows as index arithmetic: the true neighbours, the frame itself where they do not exist, in constant memory."""

from __future__ import annotations

import pytest
import torch

from aedmae_fast.engine.ring import FrameRing


def windows_by_hand(count: int, stride: int) -> list[tuple[int, tuple[int, int, int]]]:
    def neighbour(t: int, offset: int) -> int:
        return t + offset if 0 <= t + offset < count else t

    return [(t, (neighbour(t, -3), t, neighbour(t, 3))) for t in range(0, count, stride)]


@pytest.mark.parametrize("stride", [1, 2, 5, 10])
@pytest.mark.parametrize("block", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 23])
def test_windows(count: int, block: int, stride: int) -> None:
    """However the clip is cut into blocks; frame t carries the value t in its pixels."""
    ring = FrameRing(stride)
    frames = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 2, 2, 3)
    found = [w for start in range(0, count, block) for w in ring.push(frames[start : start + block])]
    found += list(ring.finish())
    values = [(w.frame, tuple(int(f[0, 0, 0]) for f in w.frames)) for w in found]
    assert values == windows_by_hand(count, stride)
    assert ring.count == count


def test_a_window_is_ready_three_frames_later() -> None:
    ring, frame = FrameRing(), torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
    ready = [[w.frame for w in ring.push(frame)] for _ in range(6)]
    assert ready == [[], [], [], [0], [1], [2]]


@pytest.mark.parametrize("stride", [1, 20])
def test_memory_does_not_grow(stride: int) -> None:
    ring, frame = FrameRing(stride), torch.zeros(8, 1, 1, 3, dtype=torch.uint8)
    for _ in range(50):
        list(ring.push(frame))
        assert len(ring._frames) <= 8 + 2 * 3
