"""What a run of a job has done so far, line by line, for the next run should this one be killed.

A file that is taken in hand is a line, a finished one another, and so is an end that was no kill: so the next run knows
what is finished, and which files may have killed this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["Journal", "read_journal"]

Entry = dict[str, Any]  # one file's record in the manifest


class Journal:
    """Writes one. Use as a context manager; several threads may write.

    Args:
        path: overwritten.
        in_hand: what an earlier run had in hand when it was killed. It stays so, should this one be killed, too.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, in_hand: Iterable[str]) -> None:
        self._path = path
        self._file = open(path, "w")  # noqa: SIM115
        self._lock = threading.Lock()
        for name in sorted(in_hand):
            self._write({"taken": name})

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk: innocent files are suspects then
            self._write({"stopped": True})
        with contextlib.suppress(OSError):
            self._file.close()

    def taken(self, name: str) -> None:
        """A file is touched from now on."""
        with contextlib.suppress(OSError):  # a full disk: the file's results cannot be written either, and that is told
            self._write({"taken": name})

    def finished(self, name: str, entry: Entry) -> None:
        """A file's results are there, whole; returns once this line is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        self._write({"name": name, **entry})
        os.fsync(self._file.fileno())

    def drop(self) -> None:
        """All is in the manifest: nobody needs the journal any more."""
        self._path.unlink(missing_ok=True)

    def _write(self, line: dict[str, Any]) -> None:
        with self._lock:
            print(json.dumps(line), file=self._file, flush=True)


def read_journal(path: Path) -> tuple[dict[str, Entry], set[str]]:
    """Of a run that was cut short: its finished files, and what it had in hand if it was killed.

    There may be no journal, and its last line may be torn.
    """
    finished: dict[str, Entry] = {}
    in_hand: set[str] = set()
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
            if "taken" in entry:
                in_hand.add(entry["taken"])
            elif "stopped" in entry:
                in_hand.clear()
            else:
                name = entry.pop("name")
                finished[name] = entry
                in_hand.discard(name)
        except (ValueError, KeyError, TypeError):
            continue
    return finished, in_hand
