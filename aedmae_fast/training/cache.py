"""The training clips, decoded once: uint8 frames at the model's size, in memory or memory-mapped from disk.

On disk a clip is one file of raw frames, named by a hash of what it was made from, and appears there whole or not at
all. So a second run, another process and a run that was killed find what is done.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from aedmae_fast.config import CHANNELS
from aedmae_fast.engine.feed import Block, Ended, Feed
from aedmae_fast.files import allow_open_files
from aedmae_fast.model.region import Region
from aedmae_fast.training.sample import Piece
from aedmae_fast.training.things import Bytes
from aedmae_fast.version import __version__
from aedmae_fast.video import Outcome, Status

PART = ".part-"  # a clip that is being decoded; then the process and the clip's name
SAMPLED = 64  # one frame in so many enters a clip's fingerprint
USABLE = (Status.OK, Status.TRUNCATED, Status.CORRUPT)  # the last two: as far as they were decoded


class Clips(NamedTuple):
    """The clips that could be decoded: videos or pieces of them."""

    pieces: tuple[Piece, ...]
    frames: tuple[Bytes, ...]  # [T, H, W, 3] BGR each
    problems: tuple[tuple[Path, str], ...]  # clips left out or cut short, and why
    fingerprint: str  # of what was decoded: what a resumed run must find again


def load_clips(
    pieces: Sequence[Piece],
    size: tuple[int, int],
    folder: Path | None,
    workers: int = 1,
    on_frames: Callable[[int], None] = lambda _: None,
    region: Region | None = None,
) -> Clips:
    """Decode clips, or find them decoded.

    Args:
        pieces: of videos or folders of frames, at least one; each is a clip.
        size: height and width of the model's input.
        folder: where the frames lie on disk; None keeps them in memory.
        workers: decoder threads.
        on_frames: called with the number of frames of each block that is decoded.
        region: outside of it frames are black.

    A clip that a disk or a network cut short is left out; a later run takes it whole. On disk copies of a clip, of the
    same name, size and time, are decoded once.

    Raises:
        ValueError: No clip at all could be decoded.
        OSError: ``folder`` cannot be written.
    """
    keys = [clip_key(piece, size, region) for piece in pieces]
    frames: dict[int, Bytes] = {}
    problems: list[tuple[Path, str]] = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        allow_open_files()  # each mapped file is one
        frames = {i: _mapped(folder / key, size) for i, key in enumerate(keys) if (folder / key).is_file()}
    first = {key: i for i, key in reversed(list(enumerate(keys)))}  # of copies, which are decoded once on disk
    missing = [i for i, key in enumerate(keys) if i not in frames and (folder is None or first[key] == i)]
    sinks: dict[int, _Sink] = {}
    with ExitStack() as open_sinks:
        for event in Feed([pieces[i].open for i in missing], size, workers, region=region):
            i = missing[event.clip]
            if isinstance(event, Block):
                if i not in sinks:
                    sinks[i] = open_sinks.enter_context(_Sink(None if folder is None else folder / keys[i], size))
                sinks[i].write(event.frames.numpy())
                on_frames(len(event.frames))
            elif isinstance(event, Ended):
                if event.outcome.status is not Status.OK:
                    problems.append((pieces[i].path, _trouble(pieces[i], event.outcome)))
                if event.outcome.status in USABLE and not event.outcome.passing and i in sinks:
                    frames[i] = sinks[i].finish()
    if folder is not None:
        frames |= {i: frames[first[key]] for i, key in enumerate(keys) if first[key] in frames}
    if not frames:
        path, reason = problems[0]
        raise ValueError(f"none of {len(pieces)} training clips can be decoded; the first, {path}: {reason}")
    order = sorted(frames)
    kept = tuple(frames[i] for i in order)
    return Clips(tuple(pieces[i] for i in order), kept, tuple(problems), _fingerprint(kept))


def require_room(folder: Path, frames: int, size: tuple[int, int]) -> None:
    """Before hours of decoding: whether so many frames fit on the disk, less what of them is in ``folder`` already.

    Raises:
        ValueError: They do not.
    """
    _remove_leftovers(folder)
    there = sum(file.stat().st_size for file in folder.glob("*.u8"))
    needed, free = frames * size[0] * size[1] * CHANNELS - there, shutil.disk_usage(folder.parent).free
    if needed > free:
        raise ValueError(
            f"{folder}: expected room for {frames} decoded frames, {needed / 1e9:.1f} GB, found {free / 1e9:.1f} GB;"
            " --frames N trains on a sample, and --out names another disk"
        )


def _remove_leftovers(folder: Path) -> None:
    """Delete what runs that were killed while they decoded have left: those of processes that are no more."""
    for part in folder.glob(f"{PART}*.u8"):
        process = part.name.removeprefix(PART).partition("-")[0]
        if process.isdecimal() and not Path(f"/proc/{process}").exists():
            part.unlink(missing_ok=True)


def _trouble(piece: Piece, outcome: Outcome) -> str:
    of_piece = "" if piece.frames is None else f"the piece from {piece.start_s:.0f} s on: "
    return f"{of_piece}{outcome.status.value}: {outcome.reason}"


def _fingerprint(clips: Sequence[Bytes]) -> str:
    """Of what was decoded and in which order; not of names and times, so that data may be moved or copied."""
    digest = hashlib.sha256()
    for frames in clips:
        digest.update(repr(frames.shape).encode())
        digest.update(frames[::SAMPLED].tobytes())
    return digest.hexdigest()


def clip_key(piece: Piece, size: tuple[int, int], region: Region | None = None) -> str:
    """File name of a decoded clip: its own name for people, and a hash of name, sizes, times and settings."""
    path = piece.path
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256(f"{__version__} {size[0]}x{size[1]}".encode())
    if piece.frames is not None:
        digest.update(f"{piece.frames} from {piece.start_s}".encode())
    if region is not None:
        digest.update(region.fingerprint().encode())
    for file in files:
        stat = file.stat() if file.exists() else None
        digest.update(f"{file.name}\0{stat and (stat.st_size, stat.st_mtime_ns)}\0".encode("utf-8", "surrogateescape"))
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in path.stem)[:40]
    return f"{readable}-{digest.hexdigest()[:16]}.u8"


class _Sink:
    """Takes a clip's blocks; on disk in a file that gets its name when it is complete."""

    def __init__(self, path: Path | None, size: tuple[int, int]) -> None:
        self._path, self._size = path, size
        self._blocks: list[Bytes] = []
        self._file: BinaryIO | None = None
        if path is not None:
            self._part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
            self._file = self._part.open("wb")

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def write(self, frames: Bytes) -> None:
        if self._file is None:
            self._blocks.append(frames)
        else:
            self._file.write(frames.tobytes())

    def finish(self) -> Bytes:
        if self._file is None or self._path is None:
            blocks, self._blocks = self._blocks, []
            return np.concatenate(blocks)
        self._file.close()
        os.replace(self._part, self._path)
        return _mapped(self._path, self._size)


def _mapped(path: Path, size: tuple[int, int]) -> Bytes:
    frames: Bytes = np.asarray(np.memmap(path, np.uint8, "r"))  # a plain array: np.memmap is slow to index
    return frames.reshape(-1, *size, CHANNELS)
