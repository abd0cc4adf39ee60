"""Where the anomaly maps of all clips wait until the last one is known: in files, finished or of a temporary folder.

The thresholds of a sweep depend on all maps, and the maps of a large test set do not fit in memory: ShanghaiTech's
40,791 frames of 160 x 320 are 8 GB in float32. On disk they take half of that, and are read as the sweep needs them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.engine.map_file import HALF_MAX, MapFile, Maps
from aedmae_fast.files import allow_open_files

__all__ = ["MapStore"]


class MapStore:
    """Maps by clip, added frame by frame; clips may take turns. Use as a context manager: its end deletes the files."""

    def __init__(self) -> None:
        allow_open_files()  # a clip's file stays open
        self._folder = tempfile.TemporaryDirectory(prefix="aedmae-maps-")
        self._files: dict[int, MapFile] = {}
        self._finished: dict[int, Maps] = {}

    def __enter__(self) -> MapStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._folder.cleanup()

    def add(self, clip: int, frame: int, values: NDArray[np.float32]) -> None:
        """Append the map of a clip's next frame: [h, w], >= 0.

        Raises:
            ValueError: ``frame`` is not the clip's next one, the size changed, or a value is negative, NaN or above
                half precision's 65504.
        """
        height, width = values.shape
        file = self._files.get(clip)
        count, size = (file.count, file.size) if file else (0, (height, width))
        if frame != count or size != (height, width):
            expected = f"frame {count} of {size[0]}x{size[1]}"
            raise ValueError(
                f"map of clip number {clip} (from 0): expected {expected}, found frame {frame} of {values.shape}"
            )
        if not ((values >= 0) & (values <= HALF_MAX)).all():
            raise ValueError(f"map of clip number {clip} (from 0), frame {frame}: expected values in 0..65504")
        if file is None:
            file = self._files[clip] = MapFile(Path(self._folder.name) / f"{clip}.npy", size)
        file.add(values)

    def take(self, clip: int, maps: Maps) -> None:
        """All maps of a clip, which lie on disk already: float16 [T, h, w] >= 0, as :meth:`MapFile.read` gives them."""
        self._finished[clip] = maps

    def __len__(self) -> int:
        """Number of clips that have maps."""
        return len(self._files) + len(self._finished)

    def frames(self, clip: int) -> int:
        """Number of maps of a clip; 0 for a clip that has none."""
        if clip in self._finished:
            return len(self._finished[clip])
        return self._files[clip].count if clip in self._files else 0

    def maps(self, clip: int) -> Maps:
        """A clip's maps, float16 [T, h, w], read from disk where they are looked at. Read-only.

        Raises:
            KeyError: the clip has no maps.
        """
        return self._finished[clip] if clip in self._finished else self._files[clip].read()
