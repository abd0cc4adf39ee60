"""Ground truth: how many frames a video has that labels are made for, and what is said of damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from aedmae_fast.evaluation.ground_truth import count_frames, image_masks, mat_masks, text_labels
from aedmae_fast.video import open_video
from tests.clips import write_clip
from tests.training.scenes import make_clip, write_frames


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
@pytest.mark.parametrize("vfr", [False, True])
def test_as_many_as_are_decoded(tmp_path: Path, name: str, vfr: bool) -> None:
    """Of a variable rate a Matroska file's duration times rate is far from it."""
    path = write_clip(tmp_path / name, frames=25, vfr=vfr)
    assert count_frames(path) == sum(len(chunk.times) for chunk in open_video(path)) == 25


def test_of_a_folder_of_frames(tmp_path: Path) -> None:
    assert count_frames(write_frames(tmp_path / "a", make_clip(12))) == 12


@pytest.mark.parametrize("compressed", [False, True])
def test_a_cut_mat_file_is_named(tmp_path: Path, compressed: bool) -> None:
    """Wherever it is cut."""
    path = tmp_path / "1_label.mat"
    cells = np.empty((1, 3), dtype=object)
    cells[0, :] = [np.eye(8, dtype=np.uint8)] * 3
    savemat(path, {"volLabel": cells}, do_compression=compressed)
    whole = path.read_bytes()
    for kept in range(0, len(whole), 8):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"1_label\.mat: expected a MATLAB file with the cell array volLabel"):
            list(mat_masks(path))
    with pytest.raises(OSError, match=r"absent\.mat"):
        list(mat_masks(tmp_path / "absent.mat"))


def test_labels_in_another_encoding_are_named(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes(b"0 1 \xe9")
    with pytest.raises(ValueError, match=r"1\.txt: expected one 0 or 1 a frame"):
        text_labels(tmp_path / "1.txt")


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it skips
@pytest.mark.parametrize("suffix", ["bmp", "png", "tif"])
def test_a_damaged_mask_is_named(tmp_path: Path, suffix: str) -> None:
    """Whatever Pillow raises: each byte of a header in turn, and one that promises more pixels than Pillow opens."""
    path = tmp_path / f"001.{suffix}"
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    damaged = [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))]
    if suffix == "bmp":
        damaged.append(whole[:18] + b"\xff\xff\x0f\0" * 2 + whole[26:])  # width and height
    errors = []
    for content in damaged:
        path.write_bytes(content)
        try:
            list(image_masks(tmp_path))
        except Exception as error:
            errors.append(error)
    assert errors
    for error in errors:
        assert isinstance(error, ValueError)
        assert str(error).startswith(f"{path}: not an image that can be read")
