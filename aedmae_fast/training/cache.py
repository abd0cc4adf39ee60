"""The training clips, decoded once: uint8 frames at the model's size, in memory or memory-mapped from disk.

On disk a clip is one file of raw frames, named by a hash of what it was made from, and appears there whole or not at
all. So a second run, another process and a run that was killed find what is done.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from aedmae_fast.config import CHANNELS
from aedmae_fast.engine.feed import Block, Ended, Feed
from aedmae_fast.model.region import Region
from aedmae_fast.training.things import Bytes
from aedmae_fast.version import __version__
from aedmae_fast.video import Status, open_video

SAMPLED = 64  # one frame in so many enters a clip's fingerprint
USABLE = (Status.OK, Status.TRUNCATED, Status.CORRUPT)  # the last two: as far as they were decoded


class Clips(NamedTuple):
    """The clips that could be decoded."""

    paths: tuple[Path, ...]
    frames: tuple[Bytes, ...]  # [T, H, W, 3] BGR each
    problems: tuple[tuple[Path, str], ...]  # clips left out or cut short, and why
    fingerprint: str  # of what was decoded: what a resumed run must find again


def load_clips(
    paths: Sequence[Path],
    size: tuple[int, int],
    folder: Path | None,
    workers: int = 1,
    on_frames: Callable[[int], None] = lambda _: None,
    region: Region | None = None,
) -> Clips:
    """Decode clips, or find them decoded.

    Args:
        paths: videos or folders of frames, at least one.
        size: height and width of the model's input.
        folder: where the frames lie on disk; None keeps them in memory.
        workers: decoder threads.
        on_frames: called with the number of frames of each block that is decoded.
        region: outside of it frames are black.

    Raises:
        ValueError: No clip at all could be decoded.
        OSError: ``folder`` cannot be written.
    """
    keys = [clip_key(path, size, region) for path in paths]
    frames: dict[int, Bytes] = {}
    problems: list[tuple[Path, str]] = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        frames = {i: _mapped(folder / key, size) for i, key in enumerate(keys) if (folder / key).is_file()}
    missing = [i for i in range(len(paths)) if i not in frames]
    sinks: dict[int, _Sink] = {}
    with ExitStack() as open_sinks:
        for event in Feed([partial(open_video, paths[i]) for i in missing], size, workers, region=region):
            i = missing[event.clip]
            if isinstance(event, Block):
                if i not in sinks:
                    sinks[i] = open_sinks.enter_context(_Sink(None if folder is None else folder / keys[i], size))
                sinks[i].write(event.frames.numpy())
                on_frames(len(event.frames))
            elif isinstance(event, Ended):
                if event.outcome.status is not Status.OK:
                    problems.append((paths[i], f"{event.outcome.status.value}: {event.outcome.reason}"))
                if event.outcome.status in USABLE and i in sinks:
                    frames[i] = sinks[i].finish()
    if not frames:
        path, reason = problems[0]
        raise ValueError(f"none of {len(paths)} training clips can be decoded; the first, {path}: {reason}")
    order = sorted(frames)
    kept = tuple(frames[i] for i in order)
    return Clips(tuple(paths[i] for i in order), kept, tuple(problems), _fingerprint(kept))


def _fingerprint(clips: Sequence[Bytes]) -> str:
    """Of what was decoded and in which order; not of names and times, so that data may be moved or copied."""
    digest = hashlib.sha256()
    for frames in clips:
        digest.update(repr(frames.shape).encode())
        digest.update(frames[::SAMPLED].tobytes())
    return digest.hexdigest()


def clip_key(path: Path, size: tuple[int, int], region: Region | None = None) -> str:
    """File name of a decoded clip: its own name for people, and a hash of name, sizes, times and settings."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256(f"{__version__} {size[0]}x{size[1]}".encode())
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
            self._part = path.with_name(f".part-{os.getpid()}-{path.name}")
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
