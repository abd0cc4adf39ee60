"""patch_weights against NumPy in float64, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aedmae_fast.config import CONFIGS
from aedmae_fast.ops import native, patch_weights
from aedmae_fast.ops.patch_weights import patch_weights_reference
from tests.ops.data import random_bytes

ROUNDING = 2**-23  # of float32: the weights are exact up to their last division


def by_hand(g: np.ndarray, d: int, anomaly: np.ndarray | None = None) -> np.ndarray:
    rows = []
    for b in range(len(g)):
        x = g[b].astype(np.float64)
        if anomaly is not None:
            x = x + (np.clip(anomaly[b], 0, 1) * max(128, g[b].max()))[..., None]
        m = [
            np.mean([x[i : i + d, j : j + d, c].max() for c in range(x.shape[2])])
            for i in range(0, x.shape[0], d)
            for j in range(0, x.shape[1], d)
        ]
        rows.append(np.array(m) / np.sum(m) if np.sum(m) else np.full(len(m), 1 / len(m)))
    return np.array(rows)


def sparse_maps(*shape: int) -> torch.Tensor:
    """Anomaly maps: some pixels above 0, some of them 1 and some 255."""
    noise = random_bytes(*shape)
    return torch.where(noise > 200, torch.where(noise > 230, 255, 1), 0).to(torch.uint8)


@pytest.mark.parametrize("with_map", [False, True])
@pytest.mark.parametrize(("size", "d"), [((8, 16), 4), ((6, 9), 3), ((5, 7), 1), ((14, 70), 7), ((64, 96), 32)])
def test_patch_weights(isa: str, size: tuple[int, int], d: int, with_map: bool) -> None:
    gradient = random_bytes(3, *size, 3) // 4  # so that the 128 floor of the anomaly's strength is reached
    gradient[1] = random_bytes(*size, 3)
    anomaly = sparse_maps(3, *size) if with_map else None
    expected = by_hand(gradient.numpy(), d, None if anomaly is None else anomaly.numpy())
    np.testing.assert_allclose(patch_weights(gradient, d, anomaly), expected, rtol=ROUNDING)
    np.testing.assert_allclose(patch_weights_reference(gradient, d, anomaly), expected, rtol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(isa: str, name: str) -> None:
    config = CONFIGS[name]
    gradient, anomaly = random_bytes(1, config.height, config.width, 3), sparse_maps(1, config.height, config.width)
    expected = by_hand(gradient.numpy(), config.patch, anomaly.numpy())
    np.testing.assert_allclose(patch_weights(gradient, config.patch, anomaly), expected, rtol=ROUNDING)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(0, 3),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 9)),
    d=st.integers(1, 20),
    channels=st.integers(1, 4),
    with_map=st.booleans(),
)
def test_any_shape(isa: str, batch: int, grid: tuple[int, int], d: int, channels: int, with_map: bool) -> None:
    shape = batch, grid[0] * d, grid[1] * d
    gradient, anomaly = random_bytes(*shape, channels), sparse_maps(*shape) if with_map else None
    expected = by_hand(gradient.numpy(), d, None if anomaly is None else anomaly.numpy())
    np.testing.assert_allclose(
        patch_weights(gradient, d, anomaly), expected.reshape(batch, grid[0] * grid[1]), rtol=ROUNDING
    )


def test_no_motion_gives_uniform_weights(isa: str) -> None:
    gradient = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    gradient[1, 0, 0] = 9
    weights = patch_weights(gradient, 4)
    assert weights[0].tolist() == weights[2].tolist() == [0.25] * 4
    assert weights[1].tolist() == [1, 0, 0, 0]


def test_extremes(isa: str) -> None:
    """All of one value: uniform; and an anomaly anywhere in a patch doubles it where the gradient is 255 everywhere."""
    gradient = torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)
    assert patch_weights(gradient, 4).tolist() == [[0.25] * 4]
    anomaly = torch.zeros(1, 8, 8, dtype=torch.uint8)
    anomaly[0, 7, 7] = 255
    np.testing.assert_allclose(patch_weights(gradient, 4, anomaly), [[0.2, 0.2, 0.2, 0.4]], rtol=ROUNDING)


def test_every_isa_gives_the_same_bits_whatever_the_batch() -> None:
    gradient, anomaly = random_bytes(5, 24, 72, 3), sparse_maps(5, 24, 72)
    found = []
    for isa in native.cpu().isas():
        native.cpu().set_isa(isa)
        found.append(patch_weights(gradient, 8, anomaly))
        alone = [patch_weights(gradient[i : i + 1], 8, anomaly[i : i + 1]) for i in range(5)]
        assert torch.equal(torch.cat(alone), found[-1])
    native.cpu().set_isa("auto")
    assert all(torch.equal(found[0], other) for other in found)


def test_awkward_strides(isa: str) -> None:
    full, maps = random_bytes(4, 16, 24, 3), sparse_maps(4, 16, 24)
    for g, a in (
        (full[::2, ::2], maps[::2, ::2]),
        (full[:, :, 4:12], maps[:, :, 4:12]),
        (full[:, :, ::2], maps[:, :, ::2]),
        (full.transpose(1, 2), maps.mT),
        (full[..., 1:2], maps[:1].expand(4, -1, -1)),
    ):
        assert torch.equal(patch_weights(g, 4, a), patch_weights(g.contiguous(), 4, a.contiguous()))


def test_opcheck_and_compile() -> None:
    gradient, anomaly = random_bytes(2, 8, 12, 3), sparse_maps(2, 8, 12)
    for arguments in ((gradient, 4), (gradient[:, ::2], 4, anomaly[:, ::2])):
        torch.library.opcheck(torch.ops.aedmae.patch_weights.default, arguments)
    compiled = torch.compile(lambda g, a: patch_weights(g, 4, a) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(gradient, anomaly), patch_weights(gradient, 4, anomaly) + 1)


def test_errors_name_the_argument() -> None:
    with pytest.raises(TypeError, match="gradient: expected uint8"):
        patch_weights(torch.zeros(1, 4, 4, 3), 4)
    for patch in (4, 0):
        with pytest.raises(ValueError, match=f"gradient: expected .* in whole patches of {patch}"):
            patch_weights(random_bytes(1, 4, 6, 3), patch)
    for empty in ((1, 0, 4, 3), (1, 4, 0, 3), (1, 4, 4, 0)):
        with pytest.raises(ValueError, match=r"gradient: expected \[B, H, W, C\] with pixels, in whole patches of 4"):
            patch_weights(random_bytes(*empty), 4)
    with pytest.raises(TypeError, match="anomaly_map: expected uint8"):
        patch_weights(random_bytes(1, 4, 4, 3), 4, torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="anomaly_map: expected"):
        patch_weights(random_bytes(1, 4, 4, 3), 4, random_bytes(1, 4, 5))
    with pytest.raises(ValueError, match="anomaly_map: expected on cpu as gradient, found on meta"):
        patch_weights(random_bytes(1, 4, 4, 3), 4, random_bytes(1, 4, 4).to("meta"))
