"""motion_weights: the same bits as patch_weights of motion_gradient, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import motion_gradient, motion_weights, native, patch_weights
from aedmae_fast.ops.motion_weights import motion_weights_reference
from tests.ops.data import random_bytes

KINDS = ("paper", "release")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(isa: str, name: str, kind: str) -> None:
    config = CONFIGS[name]
    frames = random_bytes(3, config.height, config.width, 3)
    found = motion_weights(frames, config.patch, kind)  # type: ignore[arg-type]
    assert torch.equal(found, patch_weights(motion_gradient(frames, kind), config.patch))  # type: ignore[arg-type]
    np.testing.assert_allclose(found, motion_weights_reference(frames, config.patch, kind), rtol=1e-6)
    np.testing.assert_allclose(found.double().sum(1), 1, rtol=1e-6)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 4),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 9)),
    d=st.integers(1, 20),
    channels=st.integers(1, 4),
    kind=st.sampled_from(KINDS),
)
def test_any_shape(isa: str, count: int, grid: tuple[int, int], d: int, channels: int, kind: str) -> None:
    frames = random_bytes(count, grid[0] * d, grid[1] * d, channels)
    found = motion_weights(frames, d, kind)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, motion_weights_reference(frames, d, kind), rtol=1e-6)


def test_a_still_clip_gets_uniform_weights(isa: str) -> None:
    for value in (0, 255):
        frames = torch.full((3, 8, 8, 3), value, dtype=torch.uint8)
        assert motion_weights(frames, 4).tolist() == [[0.25] * 4] * 3


def test_every_isa_gives_the_same_bits() -> None:
    frames = random_bytes(4, 24, 72, 3)
    found = []
    for isa in native.cpu().isas():
        native.cpu().set_isa(isa)
        found.append(motion_weights(frames, 8))
    native.cpu().set_isa("auto")
    assert all(torch.equal(found[0], other) for other in found)


def test_awkward_strides(isa: str) -> None:
    full = random_bytes(6, 16, 24, 3)
    for frames in (full[::2], full[:, ::2], full[:, :, 4:12], full[:, :, ::2], full[..., :2], full.transpose(1, 2)):
        assert torch.equal(motion_weights(frames, 4), motion_weights(frames.contiguous(), 4))


def test_opcheck_and_compile() -> None:
    frames = random_bytes(3, 8, 12, 3)
    torch.library.opcheck(torch.ops.aedmae.motion_weights.default, (frames[:, ::2], 4, "paper"))
    compiled = torch.compile(lambda x: motion_weights(x, 4) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(frames), motion_weights(frames, 4) + 1)


def test_errors_name_the_argument() -> None:
    with pytest.raises(TypeError, match=r"frames: expected uint8, found torch\.float32"):
        motion_weights(torch.zeros(2, 4, 4, 3), 4)
    with pytest.raises(ValueError, match=r"frames: expected \[T, H, W, C\] with pixels, found"):
        motion_weights(random_bytes(4, 4, 3), 4)
    for patch in (3, 0):
        with pytest.raises(ValueError, match=f"in whole patches of {patch}"):
            motion_weights(random_bytes(2, 4, 4, 3), patch)
    for empty in ((2, 0, 32, 3), (2, 32, 0, 3), (2, 32, 32, 0)):
        with pytest.raises(ValueError, match=r"frames: expected \[T, H, W, C\] with pixels, found"):
            motion_weights(random_bytes(*empty), 16)
    with pytest.raises(ValueError, match="kind: expected"):
        motion_weights(random_bytes(2, 4, 4, 3), 4, "other")  # type: ignore[arg-type]
