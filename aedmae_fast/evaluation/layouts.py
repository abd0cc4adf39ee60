"""Data sets as they lie on disk, in the layouts in which they are published.

``ped``: UCSD Ped1 or Ped2
    ``Train/Train001/*.tif``, ``Test/Test001/*.tif``. Masks are ``Test/Test001_gt/*.bmp``, frame labels are in
    ``Test/UCSDped1.m`` (Ped1 has masks for 10 of its 36 test clips only); without the ``.m``, a frame is anomalous
    where its mask is not empty.
``avenue``: CUHK Avenue
    ``training_videos/01.avi``, ``testing_videos/01.avi``. Masks are in
    ``ground_truth_demo/testing_label_mask/1_label.mat``, in the same folder or beside it.
``shanghaitech``: ShanghaiTech Campus
    ``training/videos/01_001.avi``, ``testing/frames/01_0014/*.jpg``; ``testing/test_frame_mask/01_0014.npy`` and
    ``testing/test_pixel_mask/01_0014.npy``.
``ubnormal``: UBnormal
    ``Scene1/abnormal_scene_1_scenario_1.mp4`` and ``..._annotations/`` beside it. The official split is in
    ``scripts/*_video_names.txt``, from the data set's repository.
``clips``: a layout of our own
    ``train/01.mp4``, ``test/01.mp4``, ``test/labels/01.txt`` (0 or 1 a frame), ``test/masks/01.npz`` (may be absent).
``videos``: a folder of normal videos, at any depth
    For training only.

Where a layout has a video file, a folder of frames of the same name will do, and the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from aedmae_fast.evaluation import ground_truth
from aedmae_fast.evaluation.ground_truth import Labels, Mask, Objects
from aedmae_fast.video.discover import VIDEO_SUFFIXES, find_videos
from aedmae_fast.video.images import is_frame_folder, natural_key

__all__ = [
    "LAYOUTS",
    "LAYOUTS_HELP",
    "Dataset",
    "LabelledClip",
    "LayoutError",
    "read_dataset",
    "ubnormal_names",
    "ubnormal_video",
]

LAYOUTS_HELP = (__doc__ or "").replace("``", "")  # for the commands that take one
SHOWN = 12  # entries of a folder that an error message shows


class LayoutError(ValueError):
    """A folder that does not have the layout asked for. The message shows what was looked for and what lies there."""


@dataclass(frozen=True)
class LabelledClip:
    """A test clip and its ground truth, which is read when it is asked for."""

    path: Path  # video file or folder of frames
    name: str  # unique in its data set
    read_labels: Callable[[], Labels] = field(repr=False)
    read_masks: Callable[[], Iterator[Mask]] | None = field(default=None, repr=False)
    read_objects: Callable[[], Iterator[Objects]] | None = field(default=None, repr=False)  # where tracks are published

    @cached_property
    def labels(self) -> Labels:
        """int64 [T], 1 for anomalous frames.

        Raises:
            ValueError, OSError: the ground truth is damaged; the message names the file.
        """
        return self.read_labels()

    @property
    def has_masks(self) -> bool:
        return self.read_masks is not None

    def masks(self) -> Iterator[Mask]:
        """bool [H, W] for each frame, True where anomalous; read one by one, anew in each call.

        Raises:
            ValueError: the clip has no masks, or they are damaged.
        """
        if self.read_masks is None:
            raise ValueError(f"clip {self.name}: the data set has no pixel masks for it")
        return self.read_masks()


@dataclass(frozen=True)
class Dataset:
    """Normal videos to learn from, and labelled clips to test on, in natural order. Either may be empty."""

    train: list[Path]
    test: list[LabelledClip]
    problems: list[tuple[Path, str]] = field(default_factory=list)  # what could not be looked at, and why


def read_dataset(root: Path, layout: str) -> Dataset:
    """Find the videos and the ground truth of a data set; nothing is decoded.

    Raises:
        LayoutError: the folder has another layout, or part of it is missing.
        ValueError: unknown ``layout``.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: expected one of {', '.join(LAYOUTS)}, found {layout!r}")
    return LAYOUTS[layout](Path(root))


def _read_ped(root: Path) -> Dataset:
    train, test = _clips(root, "ped", "Train"), _clips(root, "ped", "Test")
    scripts = sorted((root / "Test").glob("UCSDped*.m"))
    intervals = ground_truth.ucsd_intervals(scripts[0]) if scripts else None
    if intervals is not None and len(intervals) != len(test):
        raise LayoutError(f"{scripts[0]}: labels for {len(intervals)} clips, but {root / 'Test'} holds {len(test)}")
    clips = []
    for index, path in enumerate(test):
        folder = path.with_name(f"{path.stem}_gt")
        masks = partial(ground_truth.image_masks, folder) if folder.is_dir() else None
        if intervals is not None:
            labels = partial(_interval_labels, intervals[index], path)
        elif masks is not None:
            labels = partial(_mask_labels, masks)
        else:
            raise _refuse(root, "ped", f"Test/{folder.name} or Test/UCSDped*.m", root / "Test")
        clips.append(LabelledClip(path, path.stem, labels, masks))
    return Dataset(train, clips)


def _read_avenue(root: Path) -> Dataset:
    train, test = _clips(root, "avenue", "training_videos"), _clips(root, "avenue", "testing_videos")
    places = [root / "ground_truth_demo", root.resolve().parent / "ground_truth_demo", root]
    folder = next((p / "testing_label_mask" for p in places if (p / "testing_label_mask").is_dir()), None)
    if folder is None:
        raise _refuse(root, "avenue", "ground_truth_demo/testing_label_mask", root)
    clips = []
    for path in test:
        number = path.stem.lstrip("0") or "0"  # 01.avi has 1_label.mat
        file = _required(folder / f"{number}_label.mat", root, "avenue")
        masks = partial(ground_truth.mat_masks, file)
        clips.append(LabelledClip(path, path.stem, partial(_mask_labels, masks), masks))
    return Dataset(train, clips)


def _read_shanghaitech(root: Path) -> Dataset:
    train = _clips(root, "shanghaitech", "training/videos", "training/frames")
    clips = []
    for path in _clips(root, "shanghaitech", "testing/frames", "testing/videos"):
        labels = _required(root / "testing" / "test_frame_mask" / f"{path.stem}.npy", root, "shanghaitech")
        pixels = root / "testing" / "test_pixel_mask" / f"{path.stem}.npy"
        masks = partial(ground_truth.npy_masks, pixels) if pixels.is_file() else None
        clips.append(LabelledClip(path, path.stem, partial(ground_truth.npy_labels, labels), masks))
    return Dataset(train, clips)


def _read_ubnormal(root: Path) -> Dataset:
    if not any(root.glob("Scene*/")):
        raise _refuse(root, "ubnormal", "Scene1/ ... Scene29/", root)
    names = {kind: ubnormal_names(root, kind) for kind in ("normal_training", "normal_test", "abnormal_test")}
    train = [ubnormal_video(root, name) for name in names["normal_training"]]
    clips = []
    for name in sorted(names["normal_test"] + names["abnormal_test"], key=natural_key):
        path = ubnormal_video(root, name)
        tracks: list[tuple[int, int, int]] = []
        folder = path.with_name(f"{name}_annotations")
        if name.startswith("abnormal"):
            tracks = ground_truth.tracks_of(_required(folder / f"{name}_tracks.txt", root, "ubnormal"))
        labels = partial(_interval_labels, [(first, last) for _, first, last in tracks], path)
        masks = partial(ground_truth.track_masks, folder, name, tracks, path)
        objects = partial(ground_truth.track_objects, folder, name, tracks, path)
        clips.append(LabelledClip(path, name, labels, masks, objects))
    return Dataset(train, clips)


def ubnormal_names(root: Path, kind: str) -> list[str]:
    """UBnormal's videos of a kind, such as ``normal_test`` or ``abnormal_training``, as its official split lists them.

    Raises:
        LayoutError: there is no such list, or a name in it is none of the data set's.
    """
    file = f"{kind}_video_names.txt"
    for path in (root / "scripts" / file, root / file):
        if path.is_file():
            names = path.read_text(errors="replace").split()
            if wrong := [name for name in names if not re.match(r"(ab)?normal_scene_\d+_", name)]:
                raise LayoutError(f"{path}: expected names such as normal_scene_1_scenario_2, found {wrong[0]!r}")
            return names
    raise _refuse(root, "ubnormal", f"scripts/{file} (from https://github.com/lilygeorgescu/UBnormal)", root)


def ubnormal_video(root: Path, name: str) -> Path:
    """Where UBnormal's video of that name lies; its annotations are beside it, in ``{name}_annotations``.

    Raises:
        LayoutError: it is not there.
    """
    scene = root / f"Scene{name.split('_')[2]}"  # normal_scene_1_scenario_2 lies in Scene1
    for path in (*(scene / f"{name}{suffix}" for suffix in (".mp4", ".avi", ".mkv")), scene / name):
        if path.exists():
            return path
    raise _refuse(root, "ubnormal", f"{scene.name}/{name}.mp4", scene)


def _read_clips(root: Path) -> Dataset:
    if not (root / "train").is_dir() and not (root / "test").is_dir():
        raise _refuse(root, "clips", "train/ or test/", root)
    train = _clips(root, "clips", "train") if (root / "train").is_dir() else []
    clips = []
    for path in _clips(root, "clips", "test") if (root / "test").is_dir() else []:
        name = path.name if path.is_dir() else path.stem  # a folder's dots are no suffix
        labels = _required(path.parent / "labels" / f"{name}.txt", root, "clips")
        pixels = path.parent / "masks" / f"{name}.npz"
        masks = partial(ground_truth.npz_masks, pixels) if pixels.is_file() else None
        clips.append(LabelledClip(path, name, partial(ground_truth.text_labels, labels), masks))
    return Dataset(train, clips)


def _read_videos(root: Path) -> Dataset:
    if not root.is_dir():
        raise _refuse(root, "videos", "a folder", root)
    found = find_videos(root)
    if not found.videos:
        raise _refuse(root, "videos", "video files or folders of frames, at any depth", root)
    return Dataset(found.videos, [], found.problems)


LAYOUTS: dict[str, Callable[[Path], Dataset]] = {
    "ped": _read_ped,
    "avenue": _read_avenue,
    "shanghaitech": _read_shanghaitech,
    "ubnormal": _read_ubnormal,
    "clips": _read_clips,
    "videos": _read_videos,
}


def _clips(root: Path, layout: str, *places: str) -> list[Path]:
    """The videos and folders of frames directly in the first of ``places`` that exists."""
    folder = next((root / place for place in places if (root / place).is_dir()), None)
    if folder is None:
        raise _refuse(root, layout, " or ".join(f"{place}/" for place in places), root)
    found = [path for path in folder.iterdir() if not path.name.startswith(".") and _is_clip(path)]
    if not found:
        raise _refuse(root, layout, f"video files or folders of frames in {folder.relative_to(root)}/", folder)
    return sorted(found, key=lambda path: natural_key(path.name))


def _is_clip(path: Path) -> bool:
    if path.is_dir():
        return not path.name.endswith("_gt") and is_frame_folder(path)  # UCSD's masks lie beside the clips
    return path.suffix.lower() in VIDEO_SUFFIXES


def _required(path: Path, root: Path, layout: str) -> Path:
    if path.is_file():
        return path
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    raise _refuse(root, layout, str(shown), path.parent)


def _refuse(root: Path, layout: str, missing: str, place: Path) -> LayoutError:
    """The error for something that is not where it should be; ``place`` is where it was looked for."""
    return LayoutError(f"{root}: not the layout {layout!r}\n  looked for: {missing}\n  found:      {_listing(place)}")


def _listing(place: Path) -> str:
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"{place} is a file"
    names = sorted((p.name + "/" * p.is_dir() for p in place.iterdir()), key=natural_key)
    more = f", ... ({len(names)} entries)" if len(names) > SHOWN else ""
    return f"in {place}: " + (", ".join(names[:SHOWN]) + more if names else "nothing")


def _mask_labels(read_masks: Callable[[], Iterator[Mask]]) -> Labels:
    return ground_truth.mask_labels(read_masks())


def _interval_labels(intervals: Sequence[tuple[int, int]], video: Path) -> Labels:
    return ground_truth.interval_labels(intervals, ground_truth.count_frames(video))
