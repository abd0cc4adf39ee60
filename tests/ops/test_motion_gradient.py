"""motion_gradient against NumPy, the C++ of every instruction set bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from aedmae_fast.ops import motion_gradient
from aedmae_fast.ops.motion_gradient import motion_gradient_reference
from tests.ops.data import random_bytes


def by_hand(frames: Tensor, kind: str) -> list[np.ndarray]:
    f, last = frames.numpy().astype(int), len(frames) - 1
    if kind == "paper":
        return [abs(f[t] - f[max(t - 1, 0)]) for t in range(len(f))]
    return [abs(f[max(t - 1, 0)] - f[min(t + 1, last)]) for t in range(len(f))]


@pytest.mark.parametrize("kind", ["paper", "release"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_motion_gradient(isa: str, count: int, kind: str) -> None:
    frames = random_bytes(count, 6, 8, 3)
    np.testing.assert_array_equal(motion_gradient(frames, kind), by_hand(frames, kind))  # type: ignore[arg-type]
    np.testing.assert_array_equal(motion_gradient_reference(frames, kind), by_hand(frames, kind))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 90), st.integers(1, 4)),
    kind=st.sampled_from(["paper", "release"]),
)
def test_any_shape(isa: str, shape: tuple[int, ...], kind: str) -> None:
    frames = random_bytes(*shape)
    assert torch.equal(motion_gradient(frames, kind), motion_gradient_reference(frames, kind))  # type: ignore[arg-type]


def test_extremes(isa: str) -> None:
    frames = torch.tensor([0, 255, 255, 0], dtype=torch.uint8)[:, None, None, None].expand(4, 2, 70, 3)
    assert motion_gradient(frames)[:, 0, 0, 0].tolist() == [255, 255, 255, 255]
    assert motion_gradient(frames, "paper")[:, 0, 0, 0].tolist() == [0, 255, 0, 255]


def test_awkward_strides(isa: str) -> None:
    full = random_bytes(6, 10, 12, 3)
    for frames in (full[::2], full[:, 1::2], full[:, :, 3:9], full[:, :, ::2], full[..., 1:], full.flip(0), full.mT):
        assert torch.equal(motion_gradient(frames), motion_gradient_reference(frames))


def test_opcheck_and_compile() -> None:
    frames = random_bytes(3, 4, 6, 3)
    torch.library.opcheck(torch.ops.aedmae.motion_gradient.default, (frames[:, ::2], "paper"))
    compiled = torch.compile(lambda x: motion_gradient(x) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(frames), motion_gradient(frames) + 1)


def test_errors_name_the_argument() -> None:
    with pytest.raises(TypeError, match=r"frames: expected uint8, found torch\.float32"):
        motion_gradient(torch.zeros(2, 4, 4, 3))
    with pytest.raises(ValueError, match=r"frames: expected \[T, H, W, C\]"):
        motion_gradient(random_bytes(4, 4, 3))
    with pytest.raises(ValueError, match=r"frames: expected \[T, H, W, C\] with pixels, found \(2, 0, 4, 3\)"):
        motion_gradient(random_bytes(2, 0, 4, 3))
    with pytest.raises(ValueError, match="kind: expected 'paper' or 'release', found 'other'"):
        motion_gradient(random_bytes(2, 4, 4, 3), "other")  # type: ignore[arg-type]
