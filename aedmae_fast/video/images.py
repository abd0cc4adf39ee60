"""A folder of frames as a video, through Pillow: the form in which UCSD and ShanghaiTech hand out their test clips."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from aedmae_fast.ops.frame_prep import MAX_SIZE
from aedmae_fast.video import Chunk, Outcome, Status, VideoError, VideoInfo
from aedmae_fast.video.image_files import BROKEN_IMAGE, IMAGE_FORMATS
from aedmae_fast.video.pulse import pulse
from aedmae_fast.video.read_once import ReadOnce

__all__ = [
    "FRAMES_FPS",
    "IMAGE_SUFFIXES",
    "ImageFolder",
    "frame_paths",
    "is_frame_folder",
    "natural_key",
    "open_part",
]

FRAMES_FPS = 25.0  # images carry no rate; UCSD, Avenue and ShanghaiTech were filmed at 10 to 25 frames per second
WHITE_IS_ZERO = 0  # the photometric interpretation of a TIFF
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_named_dark: set[Path] = set()  # folders of which it was said that they are almost black: once is enough


class ImageFolder(ReadOnce):
    """The images of one folder, in natural order (``frame_2`` before ``frame_10``), as a Video of one-frame chunks.

    Grey images come as one full-range plane (16 bit reduced to 8), all others as BGR with alpha dropped; the EXIF
    orientation is applied. An image that cannot be read is left out, and so is one that holds several (the pages of a
    TIFF, an animation): as in a video, the frames that follow move up, and the outcome is CORRUPT and says so. Other
    files, hidden files and sub-folders are ignored.

    10, 12 or 14 bits that are stored in 16 as they are come out almost black, as no image says how many it has: a line
    on stderr says so where the first image is that dark.

    Args:
        first, last: a part of it: the images from ``first`` on, without ``last``.

    Raises:
        VideoError: TOO_SHORT for a folder without images; UNREADABLE where the folder, or every image, is unreadable.
    """

    def __init__(self, path: str | Path, first: int = 0, last: int | None = None) -> None:
        self._path, self._begin = Path(path), first
        try:
            images = frame_paths(self._path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise VideoError(self._path, Status.UNREADABLE, reason, passing=True) from error
        self._images = images[first:last]
        if not self._images:
            beyond = f"no frame at {first / FRAMES_FPS:.2f} s: it has {len(images)}"
            raise VideoError(
                self._path,
                Status.TOO_SHORT,
                beyond if images else "no image in this folder; to search it for videos: --dir",
            )
        width, height = _first_size(self._path, self._images)
        self.info = VideoInfo(self._path, width, height, FRAMES_FPS, len(self._images), "images", "images")

    def _chunks(self) -> Iterator[Chunk]:
        index = 0
        broken: list[str] = []
        passing = False
        for path in self._images:
            pulse()
            try:
                plane = _read(path, warn=self._begin + index == 0)
            except BROKEN_IMAGE as error:
                broken.append(f"{path.name}: {_one_line(error)}")
                passing |= _is_passing(error)
                continue
            yield Chunk(index, ((self._begin + index) / FRAMES_FPS,), (plane,), full_range=plane.ndim == 3)
            index += 1
            if self._closed:
                return
        self._outcome = replace(_judge(broken, len(self._images)), passing=passing, seekable=True)


def open_part(folder: Path, start_s: float, frames: int | None) -> ImageFolder:
    """See :func:`aedmae_fast.video.open_part`."""
    first = round(start_s * FRAMES_FPS)
    return ImageFolder(folder, first, None if frames is None else first + frames)


def is_frame_folder(path: Path) -> bool:
    """Whether ``path`` is a folder that directly holds at least one image. Raises OSError if it cannot be listed."""
    return path.is_dir() and bool(frame_paths(path))


def frame_paths(folder: Path) -> list[Path]:
    """The images directly in ``folder``, in natural order. Raises OSError if it cannot be listed."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _is_image(entry)]
    return [folder / name for name in sorted(names, key=natural_key)]


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """A sort key that compares runs of digits as numbers: ``frame_2 < frame_10``, ``01 < 1 < 02``."""
    parts = re.split(r"([0-9]+)", name.casefold())  # text and digits in turn, text first
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), name


def _is_image(entry: os.DirEntry[str]) -> bool:
    # Hidden files are no frames: archives made on macOS hold a "._001.tif" beside each "001.tif". A link that leads
    # nowhere is a frame that cannot be read.
    if Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES or entry.name.startswith("."):
        return False
    return entry.is_file() or (entry.is_symlink() and not entry.is_dir())


def _first_size(folder: Path, images: list[Path]) -> tuple[int, int]:
    """Width and height, the right way up, of the first image whose header can be read."""
    passing = False
    for path in images:
        try:
            return _size(path)
        except BROKEN_IMAGE as error:
            passing |= _is_passing(error)
    reason = f"none of {len(images)} images can be read: {images[0].name}, ..."
    raise VideoError(folder, Status.UNREADABLE, reason, passing)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path, formats=IMAGE_FORMATS) as image:
        turned = image.format == "TIFF"  # by Pillow already, as it is opened
        sideways = not turned and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (image.height, image.width) if sideways else (image.width, image.height)


def _is_passing(error: BaseException) -> bool:
    """Whether the system did not give the file; Pillow's own complaints of what is in it have no number."""
    return isinstance(error, OSError) and error.errno is not None


def _read(path: Path, warn: bool) -> Tensor:
    """One image as uint8: grey [1, H, W], everything else BGR [1, H, W, 3]. ``warn`` where it looks like 14 bit."""
    with Image.open(path, formats=IMAGE_FORMATS) as image:
        if max(image.size) > MAX_SIZE:
            raise ValueError(f"{image.width}x{image.height} pixels, expected at most {MAX_SIZE} a side")
        pages = _pages(image)
        if pages > 1 and image.format != "MPO":  # a camera's JPEG with a preview or a second view beside the picture
            raise ValueError(f"{pages} pictures in one file, expected one; split it into a file each")
        image.filename = ""  # or Pillow maps a grey TIFF into memory, in the wrong size where it is to be turned
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F":
            raise ValueError("floating-point pixels, expected 8 or 16 bit")
        if image.mode.startswith("I"):  # 16-bit grey, in a word of 16 or 32 bits
            samples = np.asarray(image)
            if image.format == "TIFF" and image.tag_v2.get(ExifTags.Base.PhotometricInterpretation) == WHITE_IS_ZERO:
                samples = 65535 - samples  # Pillow does so for 8 bit alone
            if warn and samples.max() < 1 << 14 and path.parent not in _named_dark:
                _named_dark.add(path.parent)
                dark = f"16-bit grey, but no pixel above {samples.max()} of 65535: the frames are almost black"
                print(f"{path.parent}: {dark}; if these are 14 bits or fewer, scale them to 16", file=sys.stderr)
            pixels = _to_8_bit(samples)
        elif image.mode in ("1", "L", "LA", "La"):
            pixels = np.array(image.convert("L"))
        else:
            pixels = np.array(image.convert("RGB"))[..., ::-1].copy()
    return torch.from_numpy(pixels)[None]


def _pages(image: Image.Image) -> int:
    """How many pictures a file holds. In a TIFF, what is said of the next one may be garbage."""
    try:
        return getattr(image, "n_frames", 1)
    except BROKEN_IMAGE:
        image.seek(0)
        pages = 1
        with contextlib.suppress(*BROKEN_IMAGE):
            while True:
                image.seek(pages)
                pages += 1
        image.seek(0)
        return pages


def _to_8_bit(samples: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Reduce 0..65535 to 0..255 with rounding; the clip is what rounding up would carry out of the byte."""
    return ((samples.clip(0, 255 << 8).astype(np.uint16) + 128) >> 8).astype(np.uint8)


def _one_line(error: BaseException) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())


def _judge(broken: list[str], images: int) -> Outcome:
    if not broken:
        return Outcome(Status.OK, "")
    if len(broken) == images:
        return Outcome(Status.UNREADABLE, f"none of {images} images can be read ({broken[0]})")
    reason = f"{len(broken)} of {images} images could not be read and are left out, later frames move up ({broken[0]}"
    return Outcome(Status.CORRUPT, reason + (", ...)" if len(broken) > 1 else ")"))
