"""What a run of a job has done so far, line by line, for the next run should this one be killed.

A file that is taken in hand is a line, a finished one another, and so is an end that was no kill: so the next run knows
what is finished, and which files may have killed this one. An exception that nobody expected is a kill, too: the same
file would provoke it again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aedmae_fast.engine.entry import Entry

__all__ = ["Journal", "read_journal"]


class Journal:
    """Writes one. Use as a context manager; several threads may write.

    Args:
        path: overwritten.
        suspects: what earlier runs had in hand when they were killed. They stay so until they are finished, however
            this one ends.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, suspects: Iterable[str]) -> None:
        self._path = path
        self._suspects = set(suspects)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        self._lock = threading.Lock()
        try:
            self._write_suspects()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, Exception):  # the end, Ctrl-C, or whoever iterates has left
            with contextlib.suppress(OSError):  # a full disk: innocent files are suspects then
                self._write({"stopped": True})
        os.close(self._file)

    def taken(self, name: str) -> None:
        """A file is touched from now on."""
        with contextlib.suppress(OSError):  # a full disk: the file's results cannot be written either, and that is told
            self._write({"taken": name})

    def finished(self, name: str, entry: Entry) -> None:
        """A file's results are there, whole; returns once this line is on the disk.

        Raises:
            OSError: it cannot be written, and none of it will be read.
        """
        self._write({"name": name, **entry})
        os.fsync(self._file)
        self._suspects.discard(name)

    def drop(self) -> None:
        """All is in the manifest: nobody needs the journal any more, but for suspects whose turn has not come."""
        if self._suspects:
            os.ftruncate(self._file, 0)
            self._write_suspects()
        else:
            self._path.unlink(missing_ok=True)

    def _write_suspects(self) -> None:
        for name in sorted(self._suspects):
            self._write({"suspect": name})

    def _write(self, line: dict[str, Any]) -> None:
        content = f"\n{json.dumps(line)}\n".encode()  # a line of its own, though a full disk may have torn the last one
        with self._lock:
            before = os.fstat(self._file).st_size
            if os.write(self._file, content) < len(content):
                os.ftruncate(self._file, before)  # what there was room for might be a whole line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_journal(path: Path) -> tuple[dict[str, Entry], set[str]]:
    """Of a run that was cut short: its finished files, and what it, or one before it, had in hand when it was killed.

    There may be no journal, and a line may be torn.
    """
    finished: dict[str, Entry] = {}
    suspects: set[str] = set()  # of runs before
    in_hand: set[str] = set()
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            if "taken" in entry:
                in_hand.add(entry["taken"])
            elif "suspect" in entry:
                suspects.add(entry["suspect"])
            elif "stopped" in entry:
                in_hand.clear()
            else:
                name = entry.pop("name")
                finished[name] = entry
                suspects.discard(name)
                in_hand.discard(name)
        except (ValueError, KeyError, TypeError):
            continue
    return finished, suspects | in_hand
