"""motion_gradient, patch_weights, discrepancy_map and smooth_max against NumPy and SciPy, written independently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from aedmae_fast.ops import discrepancy_map, motion_gradient, patch_weights, smooth_max


def random_bytes(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


# ---- motion_gradient ----


@pytest.mark.parametrize("count", [1, 2, 5])
def test_motion_gradient(count: int) -> None:
    frames = random_bytes(count, 6, 8, 3)
    f = frames.numpy().astype(int)
    release = [abs(f[max(t - 1, 0)] - f[min(t + 1, count - 1)]) for t in range(count)]
    paper = [abs(f[t] - f[max(t - 1, 0)]) for t in range(count)]
    np.testing.assert_array_equal(motion_gradient(frames), release)
    np.testing.assert_array_equal(motion_gradient(frames, "paper"), paper)


def test_motion_gradient_refuses() -> None:
    with pytest.raises(TypeError, match=r"frames: expected uint8, found torch\.float32"):
        motion_gradient(torch.zeros(2, 4, 4, 3))
    with pytest.raises(ValueError, match=r"frames: expected \[T, H, W, C\]"):
        motion_gradient(random_bytes(4, 4, 3))
    with pytest.raises(ValueError, match="kind"):
        motion_gradient(random_bytes(2, 4, 4, 3), "other")  # type: ignore[arg-type]


# ---- patch_weights ----


def weights_by_hand(g: np.ndarray, d: int, anomaly: np.ndarray | None) -> np.ndarray:
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


@pytest.mark.parametrize("with_map", [False, True])
@pytest.mark.parametrize(("size", "d"), [((8, 16), 4), ((6, 9), 3), ((5, 7), 1)])
def test_patch_weights(size: tuple[int, int], d: int, with_map: bool) -> None:
    gradient = random_bytes(3, *size, 3) // 4  # so that the 128 floor of the anomaly's strength is reached
    gradient[1] = random_bytes(*size, 3)
    anomaly = torch.where(random_bytes(3, *size) > 200, 255, 0).to(torch.uint8) if with_map else None
    found = patch_weights(gradient, d, anomaly)
    expected = weights_by_hand(gradient.numpy(), d, None if anomaly is None else anomaly.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_motion_gives_uniform_weights() -> None:
    gradient = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    gradient[1, 0, 0] = 9
    weights = patch_weights(gradient, 4)
    assert weights[0].tolist() == [0.25] * 4
    assert weights[1].tolist() == [1, 0, 0, 0]


def test_patch_weights_refuses() -> None:
    with pytest.raises(TypeError, match="gradient: expected uint8"):
        patch_weights(torch.zeros(1, 4, 4, 3), 4)
    with pytest.raises(ValueError, match="whole patches of 4"):
        patch_weights(random_bytes(1, 4, 6, 3), 4)
    with pytest.raises(TypeError, match="anomaly_map: expected uint8"):
        patch_weights(random_bytes(1, 4, 4, 3), 4, torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="anomaly_map: expected"):
        patch_weights(random_bytes(1, 4, 4, 3), 4, random_bytes(1, 4, 5))


# ---- discrepancy_map ----


@pytest.mark.parametrize("channels", ["sum", "mean"])
@pytest.mark.parametrize("error", ["L1", "L2"])
def test_discrepancy_map(error: str, channels: str) -> None:
    d, (rows, columns) = 3, (2, 4)
    rng = np.random.default_rng(1)
    teacher, student = (rng.normal(size=(2, rows * columns, 4 * d * d)).astype(np.float32) for _ in range(2))
    frames = random_bytes(2, rows * d, columns * d, 3)
    found = discrepancy_map(torch.from_numpy(teacher), torch.from_numpy(student), frames, d, error, channels)  # type: ignore[arg-type]
    expected = np.zeros((2, 2, rows * d, columns * d))
    power = 1 if error == "L1" else 2
    for b, y, x, c in np.ndindex(2, rows * d, columns * d, 4):
        token, value = y // d * columns + x // d, ((y % d) * d + x % d) * 4 + c
        target = (int(frames[b, y, x, c]) - 127.5) / 127.5 if c < 3 else -1.0
        t, s = float(teacher[b, token, value]), float(student[b, token, value])
        expected[0, b, y, x] += abs(target - t) ** power
        expected[1, b, y, x] += abs(t - s) ** power
    np.testing.assert_allclose(torch.stack(found), expected / (4 if channels == "mean" else 1), rtol=1e-5)


def test_discrepancy_map_refuses() -> None:
    prediction, frames = torch.zeros(1, 4, 16), random_bytes(1, 4, 4, 3)
    with pytest.raises(TypeError, match="frames: expected uint8"):
        discrepancy_map(prediction, prediction, frames.float(), 2)
    with pytest.raises(ValueError, match="whole patches of 3"):
        discrepancy_map(prediction, prediction, frames, 3)
    with pytest.raises(ValueError, match="student: expected"):
        discrepancy_map(prediction, prediction[:, :3], frames, 2)
    with pytest.raises(TypeError, match="teacher: expected floating point"):
        discrepancy_map(prediction.int(), prediction, frames, 2)


# ---- smooth_max ----


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 13)),
    size=st.tuples(*[st.sampled_from([1, 3, 9])] * 3),
)
def test_smooth_max_is_scipys_uniform_filter(shape: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    maps = np.random.default_rng(2).random(shape)
    total = ndimage.uniform_filter(maps, size, mode="constant")
    inside = ndimage.uniform_filter(np.ones(shape), size, mode="constant")
    found = smooth_max(torch.from_numpy(maps).float(), size)
    np.testing.assert_allclose(found, (total / inside).max(axis=(1, 2)), rtol=1e-5)


def test_smooth_max_of_nothing_and_of_even_sizes() -> None:
    assert smooth_max(torch.zeros(0, 4, 4), (9, 9, 9)).shape == (0,)
    with pytest.raises(ValueError, match="three odd numbers"):
        smooth_max(torch.zeros(1, 4, 4), (2, 1, 1))
    with pytest.raises(ValueError, match=r"maps: expected \[T, H, W\]"):
        smooth_max(torch.zeros(4, 4), (1, 1, 1))
