"""Frame labels and pixel masks out of the files in which data sets publish them.

Labels are int64 [T], 0 = normal, 1 = anomalous. Masks are generators of bool [H, W], one a frame, True where anomalous:
a clip's masks are read one after the other and are never all in memory, as far as the file format lets one.
Every error is a ValueError or OSError that names the file.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from aedmae_fast.video import open_video
from aedmae_fast.video.image_files import BROKEN_IMAGE, IMAGE_FORMATS
from aedmae_fast.video.images import frame_paths
from aedmae_fast.video.pyav import survey

__all__ = [
    "Labels",
    "Mask",
    "Objects",
    "count_frames",
    "grey_image",
    "image_masks",
    "interval_labels",
    "mask_labels",
    "mat_masks",
    "npy_labels",
    "npy_masks",
    "npz_masks",
    "text_labels",
    "track_masks",
    "track_objects",
    "tracks_of",
    "ucsd_intervals",
]

Labels = NDArray[np.int64]  # [T]
Mask = NDArray[np.bool_]  # [H, W]
Objects = dict[int, Mask]  # of one frame: by track, the pixels of its object
Interval = tuple[int, int]  # first and last frame, counted from 0, both included


def text_labels(path: Path) -> Labels:
    """A text file of 0 and 1, one a frame, separated by white space."""
    words = path.read_text(errors="replace").split()
    if wrong := [word for word in words if word not in ("0", "1")]:
        raise ValueError(f"{path}: expected one 0 or 1 a frame, found {wrong[0][:20]!r}")
    return np.array(words, dtype=np.int64)


def npy_labels(path: Path) -> Labels:
    """A NumPy file [T] of 0 and 1 (ShanghaiTech's test_frame_mask)."""
    return np.asarray(_load_npy(path, dimensions=1) != 0, dtype=np.int64)


def npy_masks(path: Path) -> Iterator[Mask]:
    """A NumPy file [T, H, W], non-zero where anomalous (ShanghaiTech's test_pixel_mask)."""
    for mask in _load_npy(path, dimensions=3):
        yield np.asarray(mask != 0)


def _load_npy(path: Path, dimensions: int) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a whole NumPy file ({error})") from error
    if array.ndim != dimensions:
        raise ValueError(f"{path}: expected an array of {dimensions} dimensions, found {array.shape}")
    return array


def npz_masks(path: Path) -> Iterator[Mask]:
    """A NumPy archive with ``bits``, the masks packed by ``np.packbits(..., axis=-1)``, and ``shape``, [T, H, W]."""
    try:
        with np.load(path, allow_pickle=False) as file:
            bits, shape = file["bits"], tuple(int(n) for n in file["shape"])
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a NumPy archive with 'bits' and 'shape' ({error})") from error
    if len(shape) != 3 or bits.shape != (shape[0], shape[1], -(-shape[2] // 8)):
        raise ValueError(f"{path}: bits of {bits.shape} do not hold masks of {shape}")
    for packed in bits:
        yield np.unpackbits(packed, axis=-1)[:, : shape[2]].astype(bool)


def mat_masks(path: Path) -> Iterator[Mask]:
    """A MATLAB file with the cell array ``volLabel``, one [H, W] matrix a frame (Avenue)."""
    with path.open("rb") as file:
        try:
            cells = loadmat(file, variable_names=["volLabel"])["volLabel"].ravel()
        except (LookupError, OSError, ValueError, TypeError, NotImplementedError, MatReadError, zlib.error) as error:
            raise ValueError(f"{path}: expected a MATLAB file with the cell array volLabel ({error})") from error
    for cell in cells:
        if getattr(cell, "ndim", 0) != 2:
            raise ValueError(f"{path}: volLabel: expected a matrix a frame, found {type(cell).__name__}")
        yield np.asarray(cell != 0)


def image_masks(folder: Path) -> Iterator[Mask]:
    """A folder of images, one a frame in natural order, non-zero where anomalous (UCSD)."""
    for path in frame_paths(folder):
        yield grey_image(path) != 0


def grey_image(path: Path) -> NDArray[np.uint8]:
    """An image as grey levels [H, W]."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            return np.asarray(image.convert("L"))
    except BROKEN_IMAGE as error:
        if getattr(error, "filename", None):  # of the file system, and names it
            raise
        raise ValueError(f"{path}: not an image that can be read ({error})") from error


def mask_labels(masks: Iterable[Mask]) -> Labels:
    """1 for each frame whose mask is not empty."""
    return np.array([mask.any() for mask in masks], dtype=np.int64)


def interval_labels(intervals: Iterable[Interval], frames: int) -> Labels:
    """1 within any of the intervals; what lies beyond the last frame is left out."""
    labels = np.zeros(frames, dtype=np.int64)
    for first, last in intervals:
        labels[first : last + 1] = 1
    return labels


def ucsd_intervals(path: Path) -> list[list[Interval]]:
    """The anomalous intervals of each test clip, from UCSDped1.m or UCSDped2.m: the n-th list is the n-th clip's.

    The file assigns ``gt_frame = [60:152]`` or ``[5:90, 140:200]`` clip by clip, frames counted from 1.
    """
    clips = []
    for ranges in re.findall(r"gt_frame\s*=\s*\[([^\]]*)\]", path.read_text(errors="replace")):
        found = [re.fullmatch(r"(\d+)(?::(\d+))?", part) for part in re.split(r"[,\s]+", ranges.strip()) if part]
        if not all(found):
            raise ValueError(f"{path}: expected ranges such as 60:152, found [{ranges.strip()[:40]}]")
        clips.append([(int(m[1]) - 1, int(m[2] or m[1]) - 1) for m in found if m])
    return clips


def tracks_of(path: Path) -> list[tuple[int, int, int]]:
    """UBnormal's tracks: (object, first frame, last frame), a line each, frames counted from 0, both included."""
    try:
        rows = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: expected lines of object,first,last ({error})") from error
    if rows.size and rows.shape[1] < 3:
        raise ValueError(f"{path}: expected lines of object,first,last, found {rows.shape[1]} columns")
    return [(int(row[0]), int(row[1]), int(row[2])) for row in rows if len(row)]


def track_masks(folder: Path, name: str, tracks: Iterable[tuple[int, int, int]], video: Path) -> Iterator[Mask]:
    """UBnormal's masks: ``NAME_0012_gt.png`` holds for frame 12 the object of each pixel.

    A pixel is anomalous if its object has a track there. Frames without a track need no image.
    """
    listed = list(tracks)
    opened = open_video(video)
    opened.close()
    for frame in range(count_frames(video)):
        objects = [number for number, first, last in listed if first <= frame <= last]
        if objects:
            yield np.isin(grey_image(folder / f"{name}_{frame:04d}_gt.png"), objects)
        else:
            yield np.zeros((opened.info.height, opened.info.width), dtype=bool)


def track_objects(folder: Path, name: str, tracks: Sequence[tuple[int, int, int]], video: Path) -> Iterator[Objects]:
    """UBnormal's objects, frame by frame, tracks being numbered from 0 on; see :func:`track_masks`."""
    for frame in range(count_frames(video)):
        present = {track: number for track, (number, first, last) in enumerate(tracks) if first <= frame <= last}
        objects = grey_image(folder / f"{name}_{frame:04d}_gt.png") if present else np.zeros((0, 0), np.uint8)
        yield {track: np.asarray(objects == number) for track, number in present.items()}


def count_frames(path: Path) -> int:
    """Frames of a video file or folder of frames, by a file's packets: what a container states may be an estimate.

    Raises:
        VideoError: the video cannot be opened.
    """
    return len(frame_paths(path)) if path.is_dir() else survey(path).met.frames
