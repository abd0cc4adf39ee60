"""Several processes that train together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from aedmae_fast.training.parallel import Place, process_group


def test_processes_wait_for_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first one decodes; torch's own patience is half an hour."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **how: asked.append(how))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with process_group(Place(1, 2), torch.device("cpu")):
        pass
    (how,) = asked
    assert how["timeout"] >= timedelta(days=1)
    assert (how["rank"], how["world_size"]) == (1, 2)
