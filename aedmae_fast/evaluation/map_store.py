"""Where the anomaly maps of all clips wait until the last one is known: half precision, in files of a temporary folder.

The thresholds of a sweep depend on all maps, and the maps of a large test set do not fit in memory: ShanghaiTech's
40,791 frames of 160 x 320 are 8 GB in float32. On disk they take half of that, and are read as the sweep needs them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["MapStore"]

Maps = NDArray[np.float16]  # [T, h, w]


class MapStore:
    """Maps by clip, added frame by frame; clips may take turns. Use as a context manager: its end deletes the files.

    Half precision keeps 11 significant bits, and steps of 6e-8 below 6e-5: the order of values is kept up to ties.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="aedmae-maps-")
        self._files: dict[int, IO[bytes]] = {}
        self._shapes: dict[int, tuple[int, int, int]] = {}  # clip -> T, h, w

    def __enter__(self) -> MapStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._folder.cleanup()

    def add(self, clip: int, frame: int, values: Tensor) -> None:
        """Append the map of a clip's next frame: float32 [h, w] on any device, >= 0. The engine's ``on_map``.

        Raises:
            ValueError: ``frame`` is not the clip's next one, the size changed, or a value is negative, NaN or above
                half precision's 65504.
        """
        count, height, width = self._shapes.get(clip, (0, *values.shape))
        if frame != count or (height, width) != tuple(values.shape):
            expected = f"frame {count} of {height}x{width}"
            raise ValueError(
                f"map of clip number {clip} (from 0): expected {expected}, found frame {frame} of {tuple(values.shape)}"
            )
        if not bool(((values >= 0) & (values <= np.finfo(np.float16).max)).all()):
            raise ValueError(f"map of clip number {clip} (from 0), frame {frame}: expected values in 0..65504")
        if clip not in self._files:
            self._files[clip] = open(self._path(clip), "wb")  # noqa: SIM115 (closed when the store is)
        self._files[clip].write(values.half().cpu().numpy().tobytes())
        self._shapes[clip] = (count + 1, height, width)

    def __len__(self) -> int:
        """Number of clips that have maps."""
        return len(self._shapes)

    def frames(self, clip: int) -> int:
        """Number of maps of a clip; 0 for a clip that has none."""
        return self._shapes.get(clip, (0, 0, 0))[0]

    def maps(self, clip: int) -> Maps:
        """A clip's maps, float16 [T, h, w], read from disk where they are looked at. Read-only.

        Raises:
            KeyError: the clip has no maps.
        """
        shape = self._shapes[clip]
        self._files[clip].flush()
        return np.memmap(self._path(clip), dtype=np.float16, mode="r", shape=shape)

    def __iter__(self) -> Iterator[int]:
        """The clips that have maps, in ascending order."""
        return iter(sorted(self._shapes))

    def _path(self, clip: int) -> Path:
        return Path(self._folder.name) / f"{clip}.f16"
