"""Clips are decoded once, found again, and appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from aedmae_fast.model.region import Region
from aedmae_fast.training.cache import listed_clips, load_clips, require_room
from aedmae_fast.training.sample import Piece
from aedmae_fast.video import images
from tests.training.scenes import HEIGHT, WIDTH, make_clip, write_frames

SIZE = (HEIGHT, WIDTH)


def test_disk_and_memory_hold_the_frames_themselves(tmp_path: Path) -> None:
    clips = [make_clip(12, seed=i) for i in range(3)]
    paths = [write_frames(tmp_path / f"{i}", clip) for i, clip in enumerate(clips)]
    for folder in (None, tmp_path / "cache"):
        loaded = load_clips(list(map(Piece, paths)), SIZE, folder, workers=2)
        assert loaded.pieces == tuple(map(Piece, paths))
        for clip, frames in zip(clips, loaded.frames, strict=True):
            np.testing.assert_array_equal(frames, clip)


def test_a_second_time_nothing_is_decoded(tmp_path: Path) -> None:
    paths = [write_frames(tmp_path / "a", make_clip(12))]
    first = load_clips(list(map(Piece, paths)), SIZE, tmp_path / "cache")
    decoded: list[int] = []
    again = load_clips(list(map(Piece, paths)), SIZE, tmp_path / "cache", on_frames=decoded.append)
    assert decoded == []
    np.testing.assert_array_equal(again.frames[0], first.frames[0])
    assert again.fingerprint == first.fingerprint


def test_another_size_or_a_changed_source_is_decoded_anew(tmp_path: Path) -> None:
    (path,) = paths = [write_frames(tmp_path / "a", make_clip(12))]
    first = load_clips(list(map(Piece, paths)), SIZE, tmp_path / "cache")
    small = load_clips(list(map(Piece, paths)), (16, 32), tmp_path / "cache")
    assert small.frames[0].shape == (12, 16, 32, 3)
    (path / "011.png").unlink()
    shorter = load_clips(list(map(Piece, paths)), SIZE, tmp_path / "cache")
    assert len(shorter.frames[0]) == 11
    assert len({first.fingerprint, small.fingerprint, shorter.fingerprint}) == 3


def test_a_region_is_decoded_anew_and_black_outside(tmp_path: Path) -> None:
    clip = make_clip(12)
    paths = [write_frames(tmp_path / "a", clip)]
    whole = load_clips(list(map(Piece, paths)), SIZE, tmp_path / "cache")
    inside = torch.zeros(SIZE, dtype=torch.bool)
    inside[:, :10] = True
    part = load_clips(list(map(Piece, paths)), SIZE, tmp_path / "cache", region=Region(inside))
    np.testing.assert_array_equal(part.frames[0][:, :, :10], clip[:, :, :10])
    assert not part.frames[0][:, :, 10:].any()
    assert part.fingerprint != whole.fingerprint


def test_data_that_was_copied_elsewhere_is_the_same_data(tmp_path: Path) -> None:
    clip = make_clip(12)
    first = load_clips([Piece(write_frames(tmp_path / "a", clip))], SIZE, None)
    moved = load_clips([Piece(write_frames(tmp_path / "other" / "b", clip))], SIZE, None)
    assert moved.fingerprint == first.fingerprint
    clip[0] ^= 1
    assert load_clips([Piece(write_frames(tmp_path / "c", clip))], SIZE, None).fingerprint != first.fingerprint


def test_what_was_not_finished_is_not_there(tmp_path: Path) -> None:
    paths = [write_frames(tmp_path / "a", make_clip(20))]

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_clips(list(map(Piece, paths)), SIZE, tmp_path / "cache", on_frames=killed)
    assert os.listdir(tmp_path / "cache") == []
    assert len(load_clips(list(map(Piece, paths)), SIZE, tmp_path / "cache").frames[0]) == 20


def test_damaged_clips_are_left_out_and_named(tmp_path: Path) -> None:
    good = write_frames(tmp_path / "good", make_clip(8))
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    clips = load_clips([Piece(bad), Piece(good)], SIZE, None)
    assert clips.pieces == (Piece(good),)
    assert clips.problems[0][0] == bad
    with pytest.raises(ValueError, match=r"none of 1 training clips can be decoded; the first, .*bad.mp4: unreadable"):
        load_clips([Piece(bad)], SIZE, None)


def test_copies_of_a_clip_are_decoded_once(tmp_path: Path) -> None:
    clip = make_clip(8)
    one, two = write_frames(tmp_path / "a" / "x", clip), tmp_path / "b" / "x"
    shutil.copytree(one, two)  # with its times
    decoded: list[int] = []
    loaded = load_clips([Piece(one), Piece(two)], SIZE, tmp_path / "cache", workers=2, on_frames=decoded.append)
    assert sum(decoded) == 8
    assert [len(list((tmp_path / "cache").glob("*.u8"))), len(loaded.frames)] == [1, 2]
    for frames in loaded.frames:
        np.testing.assert_array_equal(frames, clip)


def test_what_a_disk_cut_short_is_taken_whole_by_a_later_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, cut = (Piece(write_frames(tmp_path / name, make_clip(8, seed))) for seed, name in enumerate(("a", "b")))
    path = cut.path / "005.png"
    pictures, read = cut.path, images._read

    def failing(image: Path, warn: bool) -> Any:
        if image == path:
            raise OSError(errno.EIO, "Input/output error")
        return read(image, warn)

    monkeypatch.setattr(images, "_read", failing)
    first = load_clips([good, cut], SIZE, tmp_path / "cache")
    assert first.pieces == (good,)
    assert first.problems[0][0] == pictures
    monkeypatch.setattr(images, "_read", read)
    again = load_clips([good, cut], SIZE, tmp_path / "cache")
    assert [len(frames) for frames in again.frames] == [8, 8]
    assert again.problems == ()


def test_many_clips_are_no_more_open_files_than_allowed(tmp_path: Path) -> None:
    """In a process of its own, whose limit it is."""
    for i in range(60):
        write_frames(tmp_path / f"{i}", make_clip(1, seed=i))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from aedmae_fast.training.cache import load_clips; from aedmae_fast.training.sample import Piece\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "root = Path(sys.argv[1])\n"
        f"print(len(load_clips([Piece(root / str(i)) for i in range(60)], {SIZE}, root / 'cache').frames))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "60\n"


def test_what_killed_runs_have_left_takes_no_room(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, in_hand = (tmp_path / f".part-{pid}-0.u8" for pid in (ended.pid, os.getpid()))
    for part in (left, in_hand):
        part.write_bytes(bytes(100))
    require_room(tmp_path, [], 1, SIZE, None)
    assert [left.exists(), in_hand.exists()] == [False, True]


def test_clips_of_other_settings_are_not_there_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [Piece(write_frames(tmp_path / "a", make_clip(12)))]
    cache = tmp_path / "cache"
    load_clips(pieces, SIZE, cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    require_room(cache, pieces, 12, SIZE, None)
    with pytest.raises(ValueError, match="expected room for 12 decoded frames"):
        require_room(cache, pieces, 12, (16, 32), None)


@pytest.mark.parametrize("left", [0, 5, 11 * HEIGHT * WIDTH * 3, 11 * HEIGHT * WIDTH * 3 + 7])
def test_a_damaged_file_is_decoded_again(tmp_path: Path, left: int) -> None:
    """Also one of a whole number of frames."""
    clip = make_clip(12)
    pieces = [Piece(write_frames(tmp_path / "a", clip))]
    load_clips(pieces, SIZE, tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.u8")
    os.truncate(file, left)
    with pytest.raises(ValueError, match=f"{file.name}: expected a decoded clip, found it missing or damaged"):
        listed_clips(tmp_path / "cache", SIZE)
    np.testing.assert_array_equal(load_clips(pieces, SIZE, tmp_path / "cache").frames[0], clip)


def test_what_comes_to_lie_in_a_folder_of_frames_changes_nothing(tmp_path: Path) -> None:
    pieces = [Piece(write_frames(tmp_path / "a", make_clip(12)))]
    load_clips(pieces, SIZE, tmp_path / "a" / "run" / "cache")
    (tmp_path / "a" / ".DS_Store").touch()
    decoded: list[int] = []
    load_clips(pieces, SIZE, tmp_path / "a" / "run" / "cache", on_frames=decoded.append)
    assert decoded == []


def test_listed_clips_need_no_sources(tmp_path: Path) -> None:
    pieces = [
        Piece(write_frames(tmp_path / "data" / name, make_clip(12, i))) for i, name in enumerate(("b", "a\udce9"))
    ]
    pieces.append(Piece(pieces[0].path, 0.2, 4))
    first = load_clips(pieces, SIZE, tmp_path / "cache")
    shutil.rmtree(tmp_path / "data")
    again = listed_clips(tmp_path / "cache", SIZE)
    assert (again.pieces, again.fingerprint) == (first.pieces, first.fingerprint)
    with pytest.raises(ValueError, match=r"clips.json: no list of decoded clips: .*No such file"):
        listed_clips(tmp_path / "data", SIZE)


def test_a_disk_that_fills_is_told_and_nothing_half_stays(tmp_path: Path) -> None:
    """In a process whose files may not grow beyond half a clip of small frames, which wait until a file is closed."""
    for name in ("a", "b"):
        write_frames(tmp_path / name, make_clip(20))
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from aedmae_fast.training.cache import load_clips; from aedmae_fast.training.sample import Piece\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4001, 4001))\n"
        "root = Path(sys.argv[1])\n"
        "try: load_clips([Piece(root / 'a'), Piece(root / 'b')], (8, 16), root / 'cache', workers=2)\n"
        "except OSError as error: print(error.strerror, list((root / 'cache').iterdir()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.stdout == "File too large []\n", done.stderr
