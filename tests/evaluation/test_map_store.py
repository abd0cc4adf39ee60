"""Maps on disk: what comes back, what is refused, what is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aedmae_fast.evaluation.map_store import MapStore


def test_clips_that_take_turns_come_back_apart() -> None:
    maps = np.random.default_rng(0).random((2, 5, 3, 4), dtype=np.float32)
    with MapStore() as store:
        for frame in range(5):
            for clip in (1, 0):
                store.add(clip, frame, maps[clip, frame])
        assert len(store) == 2
        assert (store.frames(0), store.frames(7)) == (5, 0)
        for clip in (0, 1):
            np.testing.assert_array_equal(store.maps(clip), maps[clip].astype(np.float16))
        store.add(0, 5, maps[0, 0])  # read, then grown: the new map is seen
        assert store.maps(0).shape == (6, 3, 4)


def test_the_files_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with MapStore() as store:
        store.add(0, 0, np.zeros((2, 2), np.float32))
        assert list(tmp_path.rglob("*.npy"))
    assert not list(tmp_path.iterdir())


def test_many_clips_are_no_more_open_files_than_allowed() -> None:
    """In a process of its own, whose limit it is."""
    code = (
        "import resource\n"
        "import numpy as np\n"
        "from aedmae_fast.evaluation.map_store import MapStore\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "with MapStore() as store:\n"
        "    for clip in range(60): store.add(clip, 0, np.zeros((2, 2), np.float32))\n"
        "    print(len(store))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "60\n", done.stderr


@pytest.mark.parametrize(
    ("frame", "values", "message"),
    [
        (2, np.zeros((2, 2), np.float32), "expected frame 1 of 2x2, found frame 2"),
        (1, np.zeros((2, 3), np.float32), r"found frame 1 of \(2, 3\)"),
        (1, np.array([[0.0, -1.0], [0.0, 0.0]], np.float32), r"0\.\.65504"),
        (1, np.array([[0.0, np.nan], [0.0, 0.0]], np.float32), r"0\.\.65504"),
        (1, np.full((2, 2), 1e6, np.float32), r"0\.\.65504"),
    ],
)
def test_what_is_refused(frame: int, values: np.ndarray, message: str) -> None:
    with MapStore() as store:
        store.add(3, 0, np.zeros((2, 2), np.float32))
        with pytest.raises(ValueError, match=f"map of clip number 3.*{message}"):
            store.add(3, frame, values)
