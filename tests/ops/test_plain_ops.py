"""motion_gradient, patch_weights, discrepancy_map and smooth_max against NumPy and SciPy, written independently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from aedmae_fast.ops import discrepancy_map, motion_gradient, motion_weights, patch_weights, smooth_max


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


def test_motion_weights_are_those_of_the_gradient() -> None:
    frames = random_bytes(5, 6, 9, 3)
    for kind in ("paper", "release"):
        gradient = motion_gradient(frames, kind)  # type: ignore[arg-type]
        expected = weights_by_hand(gradient.numpy(), 3, None)
        np.testing.assert_allclose(motion_weights(frames, 3, kind), expected, rtol=1e-6)  # type: ignore[arg-type]


# ---- discrepancy_map ----


def heads(width: int, values: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(3)
    shapes = (values, width), (values,), (values, width), (values,)
    return [torch.from_numpy(rng.normal(size=shape)) for shape in shapes]


@pytest.mark.parametrize("error", ["L1", "L2"])
def test_discrepancy_map(error: str) -> None:
    d, (rows, columns), width, weights = 3, (2, 4), 5, (0.4, 0.2, 0.3)
    rng = np.random.default_rng(1)
    teacher, student = (rng.normal(size=(2, rows * columns, width)) for _ in range(2))
    head = heads(width, 4 * d * d)
    frames = random_bytes(2, rows * d, columns * d, 3)
    found, means = discrepancy_map(
        torch.from_numpy(teacher),
        torch.from_numpy(student),
        *head,
        frames,
        d,
        error,  # type: ignore[arg-type]
        weights,
    )
    tw, tb, sw, sb = (x.numpy() for x in head)
    predicted, distilled = teacher @ tw.T + tb, student @ sw.T + sb
    terms = np.zeros((3, 2, rows * d, columns * d))
    power = 1 if error == "L1" else 2
    for b, y, x, c in np.ndindex(2, rows * d, columns * d, 4):
        token, value = y // d * columns + x // d, ((y % d) * d + x % d) * 4 + c
        target = (int(frames[b, y, x, c]) - 127.5) / 127.5 if c < 3 else -1.0
        t, s = predicted[b, token, value], distilled[b, token, value]
        terms[0 if c < 3 else 1, b, y, x] += abs(target - t) ** power
        terms[2, b, y, x] += abs(t - s) ** power
    np.testing.assert_allclose(found, np.tensordot(weights, terms, 1), rtol=1e-10)
    np.testing.assert_allclose(means, terms.mean(axis=(2, 3)).T, rtol=1e-10)


def test_discrepancy_map_refuses() -> None:
    states, frames, head = torch.zeros(1, 4, 5), random_bytes(1, 4, 4, 3), [x.float() for x in heads(5, 16)]
    with pytest.raises(TypeError, match="frames: expected uint8"):
        discrepancy_map(states, states, *head, frames.float(), 2)
    with pytest.raises(ValueError, match="whole patches of 3"):
        discrepancy_map(states, states, *head, frames, 3)
    with pytest.raises(ValueError, match="student: expected"):
        discrepancy_map(states, states[:, :3], *head, frames, 2)
    with pytest.raises(TypeError, match="teacher: expected floating point"):
        discrepancy_map(states.int(), states, *head, frames, 2)
    with pytest.raises(ValueError, match="teacher_weight: expected"):
        discrepancy_map(states, states, head[0][:8], *head[1:], frames, 2)
    with pytest.raises(TypeError, match=r"student_bias: expected torch\.float32"):
        discrepancy_map(states, states, *head[:3], head[3].double(), frames, 2)
    with pytest.raises(ValueError, match="error: expected"):
        discrepancy_map(states, states, *head, frames, 2, "L3")  # type: ignore[arg-type]


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
