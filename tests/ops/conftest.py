"""What the tests of the compiled kernels share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aedmae_fast.ops import native


@pytest.fixture(params=native.cpu().isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set that this machine has, forced."""
    native.cpu().set_isa(request.param)
    yield request.param
    native.cpu().set_isa("auto")
