"""Maps on disk: NumPy reads them, of any number, and nothing of a clip that was given up stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aedmae_fast.engine.map_file import MapFile, MapFolder
from aedmae_fast.engine.maps import FrameMap

SIZE = (3, 5)


def random(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, *SIZE), dtype=np.float32)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 1001])
def test_numpy_reads_them(tmp_path: Path, count: int) -> None:
    """The header is written before their number is known, and is as long for any."""
    maps, file = random(count), MapFile(tmp_path / "maps.npy", SIZE)
    for values in maps:
        file.add(values)
    file.finish()
    for mode in (None, "r"):
        found = np.load(tmp_path / "maps.npy", mmap_mode=mode)
        assert (found.dtype, found.shape) == (np.float16, (count, *SIZE))
        np.testing.assert_array_equal(found, maps.astype(np.float16))


def test_they_can_be_read_while_they_grow(tmp_path: Path) -> None:
    maps, file = random(4), MapFile(tmp_path / "maps.npy", SIZE)
    for count, values in enumerate(maps, 1):
        file.add(values)
        np.testing.assert_array_equal(file.read(), maps[:count].astype(np.float16))
    file.close()


def test_what_half_precision_cannot_hold(tmp_path: Path) -> None:
    file = MapFile(tmp_path / "maps.npy", (1, 4))
    file.add(np.array([[1e9, -1e9, 1e-9, np.nan]], np.float32))
    file.finish()
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npy"), [[[65504, -65504, 0, np.nan]]])


def test_clips_take_turns_and_start_again(tmp_path: Path) -> None:
    """As where a process died with a file in hand."""
    maps = random(6)
    with MapFolder(tmp_path / "new") as folder:
        for clip, frame in ((0, 0), (1, 0), (0, 1), (1, 1), (1, 0), (0, 2), (1, 3)):  # with a stride of 3
            folder.add(clip, FrameMap(frame, 0.0, maps[3 * clip + frame // 3 if clip else frame], 0.0))
        for clip, expected in ((0, maps[:3]), (1, maps[3:5])):
            np.testing.assert_array_equal(np.load(folder.finish(clip)), expected.astype(np.float16))
        folder.drop(1)
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["0.npy"]
    assert not list(tmp_path.iterdir())
