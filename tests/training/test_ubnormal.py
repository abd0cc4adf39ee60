"""UBnormal's published layout, on a small tree generated in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aedmae_fast.evaluation.layouts import LayoutError
from aedmae_fast.training.ubnormal import read_ubnormal
from tests.training.ubnormal_tree import NAME, NAMES, H, W, make_tree


def test_objects_are_cut_along_their_tracks(tmp_path: Path) -> None:
    make_tree(tmp_path)
    source = read_ubnormal(tmp_path, (H // 2, W // 2))
    assert len(source.things) == 2  # at frames 7 and 15
    for thing in source.things:
        np.testing.assert_allclose(thing.velocity, (0, 1), atol=0.1)
        inside = thing.crops[..., :3][thing.crops[..., 3] > 250]
        assert inside.min() > 200  # the object and none of its ground
    rng = np.random.default_rng(0)
    for _ in range(20):
        placed = source.draw(0, rng)
        assert abs(placed.thing.velocity[1]) == pytest.approx(placed.scale[0], abs=0.1)
        assert 0 <= placed.thing.centre[0] < H / 2
        assert 0 <= placed.thing.centre[1] < W / 2


def test_of_a_region_they_are_placed_inside(tmp_path: Path) -> None:
    make_tree(tmp_path)
    inside = np.zeros((H // 2, W // 2), np.bool_)
    inside[3:6, 30:35] = True
    source = read_ubnormal(tmp_path, (H // 2, W // 2), inside=inside)
    rng = np.random.default_rng(0)
    for _ in range(20):
        row, column = np.rint(source.draw(0, rng).thing.centre).astype(int)
        assert inside[row, column]


def test_it_is_known_by_what_was_cut(tmp_path: Path) -> None:
    make_tree(tmp_path / "a")
    make_tree(tmp_path / "b")
    first, same = (read_ubnormal(tmp_path / folder, (H // 2, W // 2)).name for folder in "ab")
    assert first == same
    (tracks,) = (tmp_path / "b").rglob("*_tracks.txt")
    tracks.write_text("2,5,19\n")
    assert read_ubnormal(tmp_path / "b", (H // 2, W // 2)).name != first


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"(?s)not the layout 'ubnormal'.*looked for: scripts/abnormal_training"):
        read_ubnormal(tmp_path, (24, 40))


def test_a_name_of_another_form_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / "scripts" / NAMES).write_text(f"{NAME}\nfoo\n")
    with pytest.raises(LayoutError, match=rf"{NAMES}: expected names such as .*, found 'foo'"):
        read_ubnormal(tmp_path, (24, 40))


def test_a_video_may_be_of_any_format_that_the_layout_takes(tmp_path: Path) -> None:
    make_tree(tmp_path)
    expected = read_ubnormal(tmp_path, (H // 2, W // 2)).name
    (tmp_path / "Scene3" / f"{NAME}.mp4").rename(tmp_path / "Scene3" / f"{NAME}.mkv")
    assert read_ubnormal(tmp_path, (H // 2, W // 2)).name == expected


def test_a_missing_mask_names_the_file(tmp_path: Path) -> None:
    make_tree(tmp_path)
    missing = tmp_path / "Scene3" / f"{NAME}_annotations" / f"{NAME}_0008_gt.png"
    missing.unlink()
    with pytest.raises(OSError, match=missing.name):
        read_ubnormal(tmp_path, (H // 2, W // 2))


def test_a_damaged_mask_names_the_file(tmp_path: Path) -> None:
    make_tree(tmp_path)
    damaged = tmp_path / "Scene3" / f"{NAME}_annotations" / f"{NAME}_0008_gt.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    with pytest.raises(ValueError, match=f"{damaged.name}: not an image that can be read"):
        read_ubnormal(tmp_path, (H // 2, W // 2))
