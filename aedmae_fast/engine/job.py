"""A directory as a job: which files, what is done already, one CSV a file, its maps beside it where they are wanted, a
manifest that survives any crash.

Each finished file is one line in a journal (engine/journal.py), so that a kill loses at most the files in hand; the
manifest is written from it at the end of a run. Every file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from aedmae_fast.engine.entry import Entry, describe, fingerprint
from aedmae_fast.engine.fleet import Fleet
from aedmae_fast.engine.journal import Journal, read_journal
from aedmae_fast.engine.map_file import MapFolder
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.scorer import OnOpened, OnScored, Scorer
from aedmae_fast.engine.table import write_csv
from aedmae_fast.files import PICTURES_MARK, atomic
from aedmae_fast.video import Status

MANIFEST = "manifest.json"
JOURNAL = ".journal.jsonl"
LOCK = ".lock"
UNFINISHED = ".maps"  # folder for maps of what is being scored

OnFinished = Callable[[str, Entry, "ClipScores | None"], None]


class JobError(Exception):
    """A job that cannot start. The message says what to do."""


@dataclass(frozen=True)
class Item:
    """One video of a job."""

    path: Path
    name: str  # path of its scores relative to the output folder, without ``.csv``; its key in the manifest

    @property
    def maps(self) -> str:
        """Path of its maps relative to the output folder."""
        return f"{self.name}.npy"

    @property
    def place(self) -> str:
        """Where the video lies, from the root of the file system on."""
        return os.path.abspath(self.path)


def name_items(paths: Sequence[Path], root: Path | None) -> list[Item]:
    """Names under ``root``, or under the paths' common parent; each path once.

    Raises:
        JobError: two paths have one name: a folder of frames, and one in it that is called the same.
    """
    if root is None:
        parents = {os.path.abspath(p.parent) for p in paths}
        root = Path(os.path.commonpath(parents)) if parents else Path()
    base = os.path.abspath(root)
    named = {os.path.relpath(os.path.abspath(path), base): path for path in paths}
    items = [Item(path, path.resolve().name if name == "." else name) for name, path in named.items()]
    by_name: dict[str, Item] = {}
    for item in items:
        other = by_name.setdefault(item.name, item)
        if other is not item:
            raise JobError(
                f"{other.path} and {item.path}: both would be named {item.name}; score the folder above them with --dir"
            )
    return items


class Job:
    """An output folder and what is known of it. Use as a context manager: it holds the folder's lock.

    Args:
        out: output folder, made if it is missing.
        settings: what scores depend on; results of other settings are never mixed with these.
        overwrite: score what is asked for again, whatever is there. Where that was made with other settings, all of it
            goes.
        maps: write every file's maps, too (:class:`MapFile`); what was scored without them is not finished. They are no
            setting: scores do not depend on it.

    Raises:
        JobError: the folder cannot be written, another run is using it, or it holds results of other settings.
    """

    def __init__(self, out: Path, settings: dict[str, Any], *, overwrite: bool = False, maps: bool = False) -> None:
        self.out = out
        self.settings = settings
        self._overwrite = overwrite
        self._maps = MapFolder(out / UNFINISHED) if maps else None
        self._entries: dict[str, Entry] = {}
        self._written: dict[str, Entry] = {}  # entries of earlier runs whose scores and maps are still there
        self._suspects: set[str] = set()
        self._files = contextlib.ExitStack()

    def __enter__(self) -> Job:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock = self._files.enter_context(open(self.out / LOCK, "a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JobError(
                    f"{self.out}: another run is writing here; wait for it or choose another --out"
                ) from error
            known, suspects, stale = self._read()
            self._suspects = suspects | {name for name, entry in known.items() if entry["status"] == Status.FAILED}
            self._entries, self._written = known, dict(known)
            if stale:
                for name in known:
                    self._discard(name)
                self._entries = {}
            if stale or not (self.out / MANIFEST).is_file() or (self.out / JOURNAL).is_file():
                self._write_manifest()
            shutil.rmtree(self.out / UNFINISHED, ignore_errors=True)  # of a run that was killed
            if self._maps is not None:
                self._files.enter_context(self._maps)
            self._journal = self._files.enter_context(Journal(self.out / JOURNAL, suspects))
        except OSError as error:
            self._files.close()
            raise self._cannot_write(error) from error
        except BaseException:
            self._files.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def todo(self, items: Sequence[Item]) -> list[Item]:
        """Those of a run's items that are to be scored. Where it overwrites, all of them, and the manifest says so
        before the first one is: should the run be cut short, one that does not overwrite goes on with the others.

        Raises:
            JobError: an item has the name of another video, or the folder cannot be written.
        """
        self.require_own_names(items)
        if self._overwrite:
            for item in items:
                if item.name in self._entries:
                    self._entries[item.name] = {**self._entries[item.name], "again": True}
            try:
                self._write_manifest()
            except OSError as error:
                raise self._cannot_write(error) from error
        return [item for item in items if not self.is_finished(item)]

    def is_finished(self, item: Item) -> bool:
        """Whether the item was scored under these settings and has not changed since. What failed is tried again, and
        what a disk, a network or a permission stood in the way of.
        """
        entry = self._entries.get(item.name)
        if entry is None or entry["status"] == Status.FAILED or entry.get("passing") or entry.get("again"):
            return False
        if entry["source"] != fingerprint(item.path):
            return False
        if entry["output"] is None:
            return True
        needed = [entry["output"], *([entry.get("maps")] if self._maps else [])]
        return all(name and _is_there(self.out / name) for name in needed)

    def require_own_names(self, items: Sequence[Item]) -> None:
        """No item may have the name of another video that was scored into this folder before, and still exists.

        A video that was moved keeps its scores.

        Raises:
            JobError: one has.
        """
        for item in items:
            before = self._entries.get(item.name, {}).get("place")
            if before is None or before == item.place or not os.path.lexists(before):
                continue
            if not (os.path.exists(item.path) and os.path.samefile(before, item.path)):
                raise JobError(
                    f"{item.path}: {self.out} holds scores of {before} under the same name, {item.name}; give each"
                    " folder of videos an --out of its own, or score a folder above both with --dir"
                )

    def is_suspect(self, item: Item) -> bool:
        """Whether an earlier run failed on the item, or was killed with it in hand: better in a process of its own."""
        return item.name in self._suspects

    def entry(self, item: Item) -> Entry:
        return self._entries[item.name]

    def plot(self, name: str) -> Path:
        """Where the plot of an item's scores is to be drawn: it goes with them."""
        return self.out / f"{name}.png"

    def run(
        self,
        scorer: Scorer | Fleet,
        items: Sequence[Item],
        *,
        on_opened: OnOpened | None = None,
        on_scored: OnScored | None = None,
        on_finished: OnFinished | None = None,
    ) -> None:
        """Score the items, writing each one's CSV and maps as soon as it is complete.

        ``on_finished`` gets a name, its manifest entry and its scores, or None where they could not be written.
        """
        sources = [fingerprint(item.path) for item in items]  # before reading: a file that changes is not finished
        on_map = self._maps.add if self._maps else None
        results = scorer.score_unordered(
            [item.path for item in items],
            on_opened,
            on_scored,
            on_map,
            on_taken=lambda index: self._journal.taken(items[index].name),
        )
        for index, scores in results:
            entry, written = self._save(items[index], scores, sources[index], index)
            if on_finished:
                on_finished(items[index].name, entry, scores if written else None)

    def finish(self, environment: dict[str, Any], left_out: dict[str, str]) -> None:
        """Write the manifest and drop the journal.

        Args:
            environment: versions and devices.
            left_out: what the search for videos could not look at, and why.

        Raises:
            OSError: the disk is full; the journal stays, and the next run reads it.
        """
        self._write_manifest(environment, left_out)
        self._journal.drop()

    def _save(self, item: Item, scores: ClipScores, source: Entry | None, clip: int) -> tuple[Entry, bool]:
        """Write what came of an item; returns its entry, and whether its scores are written.

        ``clip`` is the item's number in the run.
        """
        entry, what = describe(scores, item.place, source), "scores"
        before = self._written.get(item.name)
        # Scores of the same video under the same settings stay right, whatever stands in the way today.
        if before is not None and not (
            before["output"] and _is_there(self.out / before["output"]) and source in (None, before["source"])
        ):
            before = None
        try:
            if before is not None and _is_no_better(scores, before):
                self._keep(item.name)
                return entry, False
            if scores.frames and scores.status is not Status.FAILED:
                what = "maps"
                maps = self._maps.finish(clip) if self._maps else None
                what = "scores"
                output = self.out / f"{item.name}.csv"
                output.parent.mkdir(parents=True, exist_ok=True)
                with atomic(output) as file:
                    write_csv(file, scores)
                entry["output"] = f"{item.name}.csv"
                if maps is not None:
                    os.replace(maps, self.out / item.maps)
                    entry["maps"] = item.maps
            self._discard(item.name, but=entry)
            self._entries[item.name] = entry
            self._journal.finished(item.name, entry)
        except OSError as error:
            reason = f"cannot write the {what}: {error.strerror}"
            failed = {**entry, "status": Status.FAILED.value, "reason": reason, "output": None, "maps": None}
            with contextlib.suppress(OSError):
                if before is not None and item.name in self._written:
                    self._keep(item.name)
                else:
                    self._entries[item.name] = failed
                    self._discard(item.name)
                    self._remove(item.name, entry)
            return failed, False
        finally:
            if self._maps:
                self._maps.drop(clip)
        return entry, entry["output"] is not None

    def _keep(self, name: str) -> None:
        """Leave what an earlier run wrote for the item, to be scored again."""
        self._entries[name] = {**self._written[name], "again": True}
        self._journal.finished(name, self._entries[name])

    def _cannot_write(self, error: OSError) -> JobError:
        return JobError(f"{self.out}: cannot write here ({error.strerror}); choose another --out")

    def _discard(self, name: str, but: Entry | None = None) -> None:
        """Take away what an earlier run wrote for the item, if one did, but for the files that ``but`` names."""
        if entry := self._written.pop(name, None):
            self._remove(name, entry, but)

    def _remove(self, name: str, entry: Entry, but: Entry | None = None) -> None:
        stay = {but["output"], but["maps"]} if but else set()
        for written in {entry["output"], entry.get("maps")} - stay - {None}:
            (self.out / written).unlink(missing_ok=True)
        plot = self.plot(name)
        if entry["output"] and (plot.parent / PICTURES_MARK).exists():  # else it is somebody else's picture
            plot.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Entry], set[str], bool]:
        """What earlier runs have finished, what they had in hand when they were killed, and whether all that is there
        is of other settings, or not ours.
        """
        manifest: dict[str, Any] = {}
        path = self.out / MANIFEST
        if path.is_file():
            try:
                manifest = json.loads(path.read_text())
                found, entries = dict(manifest["settings"]), dict(manifest["files"])
                for entry in entries.values():
                    _ = entry["status"], entry["source"], entry["output"]  # all have these
            except (ValueError, KeyError, TypeError) as error:
                if self._overwrite:
                    return {}, set(), True
                raise JobError(f"{path}: not a manifest of ours ({error}); choose another --out") from error
            differing = {k for k in found.keys() | self.settings.keys() if found.get(k) != self.settings.get(k)}
            if differing and not self._overwrite:
                changes = "; ".join(f"{k}: {found.get(k)!r}, now {self.settings.get(k)!r}" for k in sorted(differing))
                raise JobError(
                    f"{self.out}: holds scores of other settings ({changes}); choose another --out, or --overwrite"
                )
            finished, suspects = read_journal(self.out / JOURNAL)
            return entries | finished, suspects, bool(differing)
        return {}, set(), False

    def _write_manifest(
        self, environment: dict[str, Any] | None = None, left_out: dict[str, str] | None = None
    ) -> None:
        """A line a file: at 100000 of them, indented JSON takes Python a minute."""
        head = {"settings": self.settings, "environment": environment, "left_out": left_out or {}}
        with atomic(self.out / MANIFEST) as file:
            file.write("{\n")
            file.writelines(f"{json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items())
            file.write('"files": {')
            for number, (name, entry) in enumerate(sorted(self._entries.items())):
                file.write(f"{',' if number else ''}\n{json.dumps(name)}: {json.dumps(entry)}")
            file.write("\n}\n}\n")


def _is_there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _is_no_better(scores: ClipScores, before: Entry) -> bool:
    """Whether an outcome is somebody else's trouble, not the video's, and no more of it was scored than before."""
    return scores.status is Status.FAILED or (scores.passing and scores.frames <= before["frames"])
