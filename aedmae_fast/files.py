"""Files that appear whole or not at all, how many may be open; which folders hold pictures of ours."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PART = ".part-"  # a file that is being written; then the process's number and one of its own
PICTURES_MARK = ".aedmae_fast"  # in folders of pictures that were drawn, which are no frames of a video
MOST_OPEN_FILES = 65_536  # about as many as the kernel maps into one process
_numbers = itertools.count()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, of the same extension, that takes its place if the context ends well.

    It is on the disk by then. However it ends, nothing temporary stays.
    """
    temporary = path.with_name(f"{PART}{os.getpid()}-{next(_numbers)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[str]]:
    """Open a file for writing that takes ``path``'s place when it is whole, and leaves no trace when it is not."""
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        yield file


@contextlib.contextmanager
def replacing_picture(path: Path) -> Iterator[Path]:
    """:func:`replacing`, for a picture that is drawn: its folder is marked as none of frames."""
    with replacing(path) as part:
        (path.parent / PICTURES_MARK).touch()
        yield part


def allow_open_files() -> None:
    """Raise this process's limit of open files as far as it may: by default it is often 1024, and clips are more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
