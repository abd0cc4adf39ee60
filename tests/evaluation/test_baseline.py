"""The frame difference by hand, its edges, and its known figure on real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aedmae_fast.config import Gaussian
from aedmae_fast.engine.postprocess import smooth
from aedmae_fast.evaluation.auc import ScoredClip, frame_auc
from aedmae_fast.evaluation.baseline import SMOOTH, difference_maps, frame_difference
from aedmae_fast.evaluation.layouts import read_dataset
from tests.evaluation.trees import write_video


def save(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for t, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{t:03}.png")
    return folder


def test_by_hand(tmp_path: Path) -> None:
    """In frame 1, 36 of the lower right block's 144 pixels rise by 51: a mean of 12.75, or 0.05. Nothing after that."""
    images = [np.full((24, 36), 100, np.uint8) for _ in range(4)]
    for image in images[1:]:
        image[18:, 30:] += 51
    folder = save(tmp_path / "clip", images)
    maps = torch.stack(list(difference_maps(folder)))
    expected = torch.zeros(4, 2, 3)
    expected[:2, 1, 2] = 0.05  # frame 0 has no predecessor and takes frame 1's
    torch.testing.assert_close(maps, expected)
    np.testing.assert_allclose(frame_difference(folder, smoothing=None), [0.05, 0.05, 0, 0], atol=1e-7)


def test_falling_counts_as_rising(tmp_path: Path) -> None:
    dark, light = np.full((12, 12), 10, np.uint8), np.full((12, 12), 61, np.uint8)
    folder = save(tmp_path / "clip", [dark, light, dark])
    np.testing.assert_allclose(frame_difference(folder, smoothing=None), [0.2, 0.2, 0.2], atol=1e-7)


def test_against_numpy_where_blocks_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (36, 48), dtype=np.uint8) for _ in range(5)]
    found = frame_difference(save(tmp_path / "clip", images), smoothing=None)
    change = np.abs(np.diff(np.stack(images).astype(float), axis=0))
    blocks = change.reshape(4, 3, 12, 4, 12).mean((2, 4)).max((1, 2)) / 255
    np.testing.assert_allclose(found, [blocks[0], *blocks], rtol=1e-5)


@pytest.mark.parametrize(("size", "grid"), [((5, 7), (1, 1)), ((30, 43), (2, 4)), ((17, 100), (1, 8))])
def test_sizes_that_blocks_do_not_fill(tmp_path: Path, size: tuple[int, int], grid: tuple[int, int]) -> None:
    images = [np.zeros(size, np.uint8), np.full(size, 51, np.uint8)]
    maps = torch.stack(list(difference_maps(save(tmp_path / "clip", images))))
    torch.testing.assert_close(maps, torch.full((2, *grid), 0.2))


def test_one_frame(tmp_path: Path) -> None:
    assert frame_difference(save(tmp_path / "clip", [np.full((24, 24), 9, np.uint8)])).tolist() == [0]


def test_a_change_of_size_is_no_movement(tmp_path: Path) -> None:
    images = [np.full(size, value, np.uint8) for size, value in (((24, 24), 0), ((24, 24), 51), ((12, 36), 255))]
    found = frame_difference(save(tmp_path / "clip", images), smoothing=None)
    np.testing.assert_allclose(found, [0.2, 0.2, 0], atol=1e-7)


def test_colour_is_weighed_to_luma(tmp_path: Path) -> None:
    images = [np.zeros((12, 12, 3), np.uint8), np.zeros((12, 12, 3), np.uint8)]
    images[1][..., 1] = 100  # green
    found = frame_difference(save(tmp_path / "clip", images), smoothing=None)
    assert found[1] == pytest.approx(58.7 / 255, rel=1e-5)


def test_the_maps_are_handed_out_and_smoothing_comes_after(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 12)
    maps: dict[int, torch.Tensor] = {}
    score = frame_difference(tmp_path / "clip.mp4", on_map=maps.__setitem__)
    assert list(maps) == list(range(12))
    raw = np.array([float(m.max()) for m in maps.values()])
    assert raw.min() > 0  # the square moves in every frame
    np.testing.assert_array_equal(score, smooth(raw, SMOOTH))
    assert not np.allclose(score, frame_difference(tmp_path / "clip.mp4", smoothing=Gaussian(taps=3, sigma=1)))


def test_shared_ped2(shared: Path) -> None:
    """The figure above which a result means something."""
    clips = read_dataset(shared / "data" / "ped2", "clips").test
    found = frame_auc([ScoredClip(clip.name, clip.labels, frame_difference(clip.path)) for clip in clips])
    assert found.micro_auc == pytest.approx(0.888, abs=0.002)
    assert found.macro_auc_plain == pytest.approx(0.937, abs=0.002)
    assert found.one_class_clips == ("08", "09", "10", "11")
