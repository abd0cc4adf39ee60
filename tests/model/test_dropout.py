"""Dropout on a CPU: what it keeps, how it scales, and what decides."""

from __future__ import annotations

import pytest
import torch

from aedmae_fast.model.dropout import Dropout


def dropped(x: torch.Tensor, p: float, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(x)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_scale(p: float, dtype: torch.dtype) -> None:
    y = dropped(torch.ones(1001, 333, dtype=dtype), p)
    kept = y != 0
    assert y.dtype == dtype
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=0.004)  # five standard deviations
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)), rtol=2**-7, atol=0)


def test_elements_are_independent() -> None:
    """Neighbours, and those that are taken from the same 64 bits."""
    kept = (dropped(torch.ones(400_000), 0.5) != 0).float() - 0.5
    for apart in (1, 2, 3, 4, 8):
        assert abs(float((kept[apart:] * kept[:-apart]).mean() * 4)) < 0.01


def test_seed_decides() -> None:
    x = torch.randn(7, 13)  # no multiple of four
    assert torch.equal(dropped(x, 0.3, seed=1), dropped(x, 0.3, seed=1))
    assert not torch.equal(dropped(x, 0.3, seed=1), dropped(x, 0.3, seed=2))


def test_gradient_is_of_what_was_kept() -> None:
    x = torch.ones(64, 65, requires_grad=True)
    y = dropped(x, 0.25)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.detach())


def test_nothing_is_dropped_in_evaluation_or_with_p_0() -> None:
    x = torch.randn(5, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_p_1_drops_all() -> None:
    assert torch.equal(Dropout(1.0)(torch.ones(9)), torch.zeros(9))
