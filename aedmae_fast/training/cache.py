"""The training clips, decoded once: uint8 frames at the model's size, in memory or memory-mapped from disk.

On disk a clip is one file of raw frames and their number, named by a hash of what it was made from, and appears there
whole or not at all. So a second run, another process and a run that was killed find what is done. A list of the clips
that a run was started with lets it go on with them whatever has become of their sources.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aedmae_fast.config import CHANNELS
from aedmae_fast.engine.feed import Block, Ended, Feed
from aedmae_fast.files import PART, allow_open_files, replacing
from aedmae_fast.model.region import Region
from aedmae_fast.training.sample import Piece
from aedmae_fast.training.things import Bytes
from aedmae_fast.version import __version__
from aedmae_fast.video import Outcome, Status
from aedmae_fast.video.images import frame_paths

LIST = "clips.json"  # in the folder: the clips of the last run
COUNT = 8  # bytes at a file's end: the number of its frames
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
        for i, key in enumerate(keys):
            if (there := _mapped(folder / key, size)) is not None:
                frames[i] = there
            else:  # a damaged one is in the way
                (folder / key).unlink(missing_ok=True)
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
                if i in sinks and event.outcome.status in USABLE and not event.outcome.passing:
                    frames[i] = sinks[i].finish()
                elif i in sinks:
                    sinks[i].drop()
    if folder is not None:
        frames |= {i: frames[first[key]] for i, key in enumerate(keys) if first[key] in frames}
    if not frames:
        path, reason = problems[0]
        raise ValueError(f"none of {len(pieces)} training clips can be decoded; the first, {path}: {reason}")
    order = sorted(frames)
    kept = tuple(frames[i] for i in order)
    if folder is not None:
        rows = [(keys[i], os.fspath(pieces[i].path), pieces[i].start_s, pieces[i].frames) for i in order]
        with replacing(folder / LIST) as part:
            part.write_text(json.dumps(rows, indent=0))
    return Clips(tuple(pieces[i] for i in order), kept, tuple(problems), _fingerprint(kept))


def listed_clips(folder: Path, size: tuple[int, int]) -> Clips:
    """The clips that the last :func:`load_clips` left in ``folder``, without a look at what they were made from.

    Raises:
        ValueError: One of them is missing or damaged, or the list is; the message names the file.
    """
    path = folder / LIST
    try:
        rows = json.loads(path.read_bytes())
        files = [(folder / key, Piece(Path(name), start, frames)) for key, name, start, frames in rows]
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no list of decoded clips: {error}") from error
    allow_open_files()
    found: list[Bytes] = []
    for file, _ in files:
        if (frames := _mapped(file, size)) is None:
            raise ValueError(f"{file}: expected a decoded clip, found it missing or damaged")
        found.append(frames)
    return Clips(tuple(piece for _, piece in files), tuple(found), (), _fingerprint(found))


def require_room(
    folder: Path, pieces: Sequence[Piece], frames: int, size: tuple[int, int], region: Region | None
) -> None:
    """Before hours of decoding: whether so many frames fit on the disk, less what of them is in ``folder`` already.

    Raises:
        ValueError: They do not.
    """
    _remove_leftovers(folder)
    files = [folder / key for key in {clip_key(piece, size, region) for piece in pieces}]
    there = sum(file.stat().st_size for file in files if file.is_file())
    needed, free = frames * size[0] * size[1] * CHANNELS - there, shutil.disk_usage(folder.parent).free
    if needed > free:
        raise ValueError(
            f"{folder}: expected room for {frames} decoded frames, {needed / 1e9:.1f} GB, found {free / 1e9:.1f} GB;"
            " --frames N trains on a sample, and --out names another disk"
        )


def _remove_leftovers(folder: Path) -> None:
    """Delete what runs that were killed while they decoded have left: those of processes that are no more."""
    for part in folder.glob(f"{PART}*"):
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
    files = frame_paths(path) if path.is_dir() else [path]  # of a folder nothing else that may come to lie there
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
        self._frames = 0
        self._open = ExitStack()
        if path is not None:
            self._file = self._open.enter_context(self._open.enter_context(replacing(path)).open("wb"))

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def write(self, frames: Bytes) -> None:
        self._frames += len(frames)
        if self._path is None:
            self._blocks.append(frames)
        else:
            self._file.write(frames.tobytes())

    def finish(self) -> Bytes:
        if self._path is None:
            blocks, self._blocks = self._blocks, []
            return np.concatenate(blocks)
        self._file.write(self._frames.to_bytes(COUNT, "little"))
        self._open.close()
        frames = _mapped(self._path, self._size)
        assert frames is not None
        return frames

    def drop(self) -> None:
        """Let go of what is not finished."""
        self._blocks = []
        self._open.__exit__(InterruptedError, InterruptedError(), None)  # of which `replacing` keeps nothing


def _mapped(path: Path, size: tuple[int, int]) -> Bytes | None:
    """A decoded clip; None where it is missing, or not as long as it says."""
    if not path.is_file():
        return None
    length = path.stat().st_size - COUNT
    with path.open("rb") as file:
        file.seek(max(0, length))
        frames = int.from_bytes(file.read(COUNT), "little")
    if length <= 0 or length != frames * size[0] * size[1] * CHANNELS:
        return None
    return np.asarray(np.memmap(path, np.uint8, "r", shape=(frames, *size, CHANNELS)))  # np.memmap is slow to index
