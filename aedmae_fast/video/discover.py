"""Which videos lie under a folder: files by their extension, and folders of frames."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from aedmae_fast.files import PICTURES_MARK
from aedmae_fast.video.images import IMAGE_SUFFIXES, natural_key

__all__ = ["VIDEO_SUFFIXES", "Discovery", "find_videos"]

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avc", ".avi", ".dav", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265",
    ".hevc", ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mod", ".mov", ".mp4",
    ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".tp", ".trp", ".ts", ".vob",
    ".webm", ".wmv", ".wtv", ".y4m",
})
# fmt: on
_OF_A_NAS = "@eaDir"  # Synology's folder of thumbnails beside every folder's files


@dataclass
class Discovery:
    """What a search found."""

    videos: list[Path] = field(default_factory=list)  # files and folders of frames, in natural order of their paths
    problems: list[tuple[Path, str]] = field(default_factory=list)  # what could not be looked at, and why
    others: Counter[str] = field(default_factory=Counter)  # files that are neither, by extension, in lower case


def find_videos(root: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Discovery:
    """Find every video under ``root``, at any depth.

    A video is a file with one of :data:`VIDEO_SUFFIXES`, or a folder that directly holds an image and no video: UCSD's
    ``Test/Test001/*.tif``, ShanghaiTech's ``testing/frames/01_0014/*.jpg``; but not one of pictures of ours, such as
    plots. Hidden files and folders are skipped, as is what a NAS puts beside. Links are followed, each folder is
    searched once.

    Args:
        root: A folder to search, or one video file, which is taken whatever its name.
        include: Keep only videos that match one of these patterns; none keeps all.
        exclude: Leave out videos that match one of these patterns, and whole folders that do. A pattern is matched
            against the path relative to ``root`` and against the name alone; ``*`` crosses ``/``, and ``**/`` also
            stands for no folder at all.

    Raises:
        FileNotFoundError: There is no ``root``.
        NotADirectoryError: ``root`` is neither a file nor a folder.
        PermissionError: ``root`` may not be read.
    """
    if not _is_folder(root):
        return Discovery([root])
    search = _Search(root, tuple(include), tuple(exclude))
    search.run()
    search.found.videos.sort(key=lambda path: [natural_key(part) for part in path.relative_to(root).parts])
    search.found.problems.sort()
    return search.found


def _is_folder(root: Path) -> bool:
    """Whether ``root`` can be searched; False for a regular file. Raises what :func:`find_videos` says."""
    try:
        os.stat(root)
        if root.is_dir():
            with os.scandir(root):
                return True
    except FileNotFoundError:
        wanted = "give a video, a folder of frames, or a folder that holds such"
        raise FileNotFoundError(f"{root}: no such file or folder; {wanted}") from None
    except PermissionError:
        remedy = "run as a user who may, or change its permissions (chmod u+rx)"
        raise PermissionError(f"{root}: this user may not read it; {remedy}") from None
    if root.is_file():
        return False
    raise NotADirectoryError(f"{root}: expected a folder or a video file, found a pipe, socket or device")


class _Search:
    """One walk. Linked folders wait until all real ones are done: a folder is found by its real path if it has one."""

    def __init__(self, root: Path, include: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self.root, self.include, self.exclude = root, include, exclude
        self.found = Discovery()
        self._seen: set[tuple[int, int]] = set()  # (device, inode) of folders searched: cuts loops of links
        self._pending = deque([root])

    def run(self) -> None:
        while self._pending:
            folder = self._pending.popleft()
            try:
                self._visit(folder)
            except OSError as error:
                self._problem(folder, error)

    def _visit(self, folder: Path) -> None:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in self._seen:
            return
        self._seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            listed = list(entries)
        visible = [entry for entry in listed if not entry.name.startswith(".") and entry.name != _OF_A_NAS]
        drawn = any(entry.name == PICTURES_MARK for entry in listed)
        visible.sort(key=lambda entry: entry.name)
        kinds = [self._kind(entry) for entry in visible]
        if "image" in kinds and "video" not in kinds and not drawn:
            self._keep(folder)
        for entry, kind in zip(visible, kinds, strict=True):
            path = folder / entry.name
            if kind == "video":
                self._keep(path)
            elif kind == "folder" and not self._matches(path, self.exclude):
                (self._pending.append if entry.is_symlink() else self._pending.appendleft)(path)

    def _kind(self, entry: os.DirEntry[str]) -> str:
        """``folder``, ``video``, ``image``, or nothing of interest."""
        suffix = os.path.splitext(entry.name)[1].lower()
        try:
            if entry.is_dir():
                return "folder"
            if suffix in IMAGE_SUFFIXES and entry.is_file():
                return "image"
            if suffix in VIDEO_SUFFIXES:
                if entry.is_file():
                    return "video"
                broken = entry.is_symlink()
                self.found.problems.append((Path(entry.path), "a link to nothing" if broken else "not a regular file"))
            elif entry.is_file():
                self.found.others[suffix] += 1
        except OSError as error:
            self._problem(Path(entry.path), error)
        return ""

    def _keep(self, path: Path) -> None:
        if (not self.include or self._matches(path, self.include)) and not self._matches(path, self.exclude):
            self.found.videos.append(path)

    def _problem(self, path: Path, error: OSError) -> None:
        self.found.problems.append((path, (error.strerror or str(error)).lower()))

    def _matches(self, path: Path, patterns: tuple[str, ...]) -> bool:
        names = (path.relative_to(self.root).as_posix(), path.name)
        return any(fnmatchcase(name, one) for name in names for given in patterns for one in _variants(given))


def _variants(pattern: str) -> Iterator[str]:
    """``pattern`` with each ``**/`` once as ``*/`` and once as nothing."""
    head, stars, tail = pattern.partition("**/")
    if not stars:
        yield pattern
        return
    for rest in _variants(tail):
        yield f"{head}*/{rest}"
        yield head + rest
