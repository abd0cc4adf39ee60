"""How a batch is dealt to the threads of a CPU. That scores do not depend on it is tested in test_scorer.py."""

from __future__ import annotations

import pytest
import torch

from aedmae_fast.config import PRESETS
from aedmae_fast.engine.ring import Window
from aedmae_fast.engine.runner import Runner
from aedmae_fast.model.network import AedMae


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
    start = runner._start
    dealt: list[list[int]] = []

    def record(windows: list[Window]) -> object:
        dealt.append([window.frame for window in windows])
        return start(windows)

    monkeypatch.setattr(runner, "_start", record)
    c = tiny_model.config
    windows = [Window(i, (torch.full((c.height, c.width, 3), i, dtype=torch.uint8),) * 3) for i in range(count)]
    terms = runner(windows)
    assert [len(part) for part in sorted(dealt)] == sizes
    assert [number for part in sorted(dealt) for number in part] == list(range(count))
    assert [t._replace(map=None) for t in terms] == [runner([w])[0]._replace(map=None) for w in windows]
