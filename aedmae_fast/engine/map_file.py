"""Anomaly maps on disk, written as they come: NumPy's own format, in half precision.

``np.load(path, mmap_mode="r")`` gives float16 [T, H, W] of any length and reads what is looked at. Half precision keeps
11 significant bits, and steps of 6e-8 below 6e-5: the order of values is kept up to ties.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.engine.maps import FrameMap

__all__ = ["HALF_MAX", "MapFile", "MapFolder", "Maps"]

HALF_MAX = 65504.0  # the largest finite number in half precision

Maps = NDArray[np.float16]  # [T, H, W]


class MapFile:
    """The maps of one clip in a file that is made anew.

    Args:
        size: of a map, (H, W).

    Raises:
        OSError: here and in every method: the file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.path, self.size, self.count = path, size, 0
        self._file = open(path, "wb")  # noqa: SIM115 (closed by :meth:`close`)
        self._write_header()
        self._start = self._file.tell()

    def add(self, values: NDArray[np.float32]) -> None:
        """Append the next frame's map [H, W]; what half precision cannot hold becomes its largest number."""
        self._file.write(values.clip(-HALF_MAX, HALF_MAX).astype("<f2").tobytes())
        self.count += 1

    def read(self) -> Maps:
        """What was added up to now, read from disk where it is looked at. Read-only."""
        self._file.flush()
        return np.memmap(self.path, np.float16, "r", self._start, (self.count, *self.size))

    def finish(self) -> None:
        """Write how many there are, and wait until all of it is on the disk."""
        self._file.seek(0)
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Give it up as it is."""
        with contextlib.suppress(OSError):  # what is buffered may not fit on the disk; the file is closed all the same
            self._file.close()

    def _write_header(self) -> None:
        """As long for any number of frames: NumPy leaves room for the first axis to grow."""
        shape = (self.count, *self.size)
        np.lib.format.write_array_header_1_0(self._file, {"descr": "<f2", "fortran_order": False, "shape": shape})


class MapFolder:
    """The maps of clips that are being scored, each in a file of this folder until it is whole. A context manager.

    A map that cannot be written is its clip's trouble: what there is of the clip goes, since the disk may be full, its
    other maps are not wanted any more, and :meth:`finish` raises.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, MapFile] = {}
        self._troubles: dict[int, OSError] = {}

    def __enter__(self) -> MapFolder:
        self._folder.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        for clip in list(self._files):
            self.drop(clip)
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, clip: int, found: FrameMap) -> None:
        """Take the next map of a clip; its first one again where it is scored again from the start."""
        try:
            if found.frame == 0:
                self.drop(clip)
                height, width = found.values.shape
                self._files[clip] = MapFile(self._folder / f"{clip}.npy", (height, width))
            if clip in self._files:
                self._files[clip].add(found.values)
        except OSError as error:
            self.drop(clip)
            self._troubles[clip] = error

    def finish(self, clip: int) -> Path:
        """The clip has no more maps: where they are, whole, to be moved from there.

        Raises:
            OSError: some of them could not be written.
        """
        if clip in self._troubles:
            raise self._troubles[clip]
        file = self._files[clip]
        file.finish()
        return file.path

    def drop(self, clip: int) -> None:
        """Forget a clip, and what is left of it here."""
        self._troubles.pop(clip, None)
        if file := self._files.pop(clip, None):
            file.close()
            file.path.unlink(missing_ok=True)
