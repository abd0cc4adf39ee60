"""Labelled clips from normal videos alone: a yardstick for settings, without a look at any test label.

    python benchmarks/make_holdout.py --data DIR --layout clips|videos|ped|... --out HOLDOUT [--frames N]

Every fourth training clip is held out; with --frames a sample of them, for long videos. Into each an anomaly of every
kind is pasted, three copies a clip: a runner, a cyclist on drawn wheels, a cart. They are made of what walks through
the held-out clips, follow a straight line for seconds, and are of other kinds than those that training pastes. Others
are pasted as they walked, as normal, so that a paste is no cue. The result has the layout ``clips``: the other clips in
``train`` (as links), the pasted ones in ``test`` (as folders of frames) with labels and masks. So the usual commands
work on it:

    python -m aedmae_fast.train    --data HOLDOUT --layout clips --out RUN ...
    python -m aedmae_fast.evaluate --data HOLDOUT --layout clips --checkpoint RUN/model.safetensors --preset ...
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tracks import SHORTEST, follow, pace

from aedmae_fast.evaluation.layouts import LAYOUTS, read_dataset
from aedmae_fast.text import printable
from aedmae_fast.training.cache import load_clips
from aedmae_fast.training.objects import GREY, Background, background_frames, colour_of, scene_among
from aedmae_fast.training.sample import Piece, count_frames, take_sample
from aedmae_fast.training.things import Bytes, Floats, Thing, paste
from aedmae_fast.video import VideoError, open_video

EVERY = 4  # one in so many training clips is held out
DRAWS = 1000  # of a path, at most
SECONDS_LIKE = (30, 90)  # frames an anomaly is to be seen for
SLOWEST = 0.6  # of the usual pace: what is slower rather stands there
SMALLEST = 0.7  # of the usual height: what is smaller rather is a part of someone
DECOYS = 3  # things pasted into each clip that are nothing unusual
FADE = 8  # frames in which what is pasted appears, and disappears


@dataclass(frozen=True)
class Kind:
    """A kind of anomaly."""

    speed: tuple[float, float]  # multiples of the usual one
    strides: bool  # moves its legs, so many times as fast, too; else it glides
    dress: Callable[[Bytes, np.random.Generator], Bytes]  # crops [N, h, w, 4] -> [N, h', w', 4], BGR and alpha


def as_it_is(crops: Bytes, rng: np.random.Generator) -> Bytes:
    return crops


def on_wheels(crops: Bytes, rng: np.random.Generator) -> Bytes:
    """Two rings below, a bar between them."""
    _, h, w, _ = crops.shape
    radius = max(2.0, 0.23 * h)
    height, width = h + int(radius) + 2, int(max(w, 4.2 * radius)) + 4
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    axle = height - radius - 2
    ring = np.zeros((height, width), np.float32)
    for centre in (radius + 2, width - radius - 3):
        distance = np.abs(np.hypot(y - axle, x - centre) - radius)
        ring = np.maximum(ring, np.clip(1.2 - distance * 4 / radius, 0, 1))
    bar = (np.abs(y - axle + 0.3 * radius) < 0.12 * radius) & (x > radius) & (x < width - radius)
    return _in_front(crops, np.maximum(ring, bar), rng.uniform(20, 110), (0, (width - w) // 2))


def in_a_cart(crops: Bytes, rng: np.random.Generator) -> Bytes:
    """A box below, a roof on two posts, the thing inside."""
    _, h, w, _ = crops.shape
    height, width = round(1.2 * h), max(w + 4, round(rng.uniform(1.8, 2.6) * h))
    box = np.zeros((height, width), np.float32)
    post, roof = max(1, h // 12), max(1, h // 10)
    box[round(0.5 * height) : -1, 1:-1] = 1
    box[1 : 1 + roof, 1:-1] = 1
    box[1:-1, 1 : 1 + post] = box[1:-1, -1 - post : -1] = 1
    return _in_front(crops, box, rng.uniform(60, 220), (height - h - 1, width // 3))


KINDS = {
    "runner": Kind((1.8, 3.0), True, as_it_is),
    "cyclist": Kind((1.8, 3.2), False, on_wheels),
    "cart": Kind((1.3, 2.5), False, in_a_cart),
}


def _in_front(crops: Bytes, shape: Floats, grey: float, at: tuple[int, int]) -> Bytes:
    """The crops, at (row, column) ``at``, before a grey shape [H, W] of 0..1."""
    n, h, w, _ = crops.shape
    out = np.zeros((n, *shape.shape, 4), np.float32)
    out[..., :3], out[..., 3] = grey, shape
    place = out[:, at[0] : at[0] + h, at[1] : at[1] + w]
    front = crops[:, : place.shape[1], : place.shape[2]].astype(np.float32)
    alpha = front[..., 3:] / 255
    behind = place[..., 3:] * (1 - alpha)
    total = alpha + behind
    place[..., :3] = (front[..., :3] * alpha + place[..., :3] * behind) / np.maximum(total, 1e-3)
    place[..., 3:] = total
    out[..., 3] *= 255
    return np.rint(out).clip(0, 255).astype(np.uint8)


def whole_walkers(things: Sequence[Thing]) -> list[Thing]:
    """Those that walk, and are no head or leg that was told from its body."""
    if not things:
        return []
    paces, heights = [np.hypot(*pace(thing)) for thing in things], [thing.crops.shape[1] for thing in things]
    slowest, smallest = SLOWEST * np.median(paces), SMALLEST * np.median(heights)
    measured = zip(things, paces, heights, strict=True)
    return [thing for thing, fast, tall in measured if fast >= slowest and tall >= smallest]


def paste_anomaly(clip: Bytes, kind: Kind, walks: Sequence[Thing], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Paste an anomaly into a clip [T, H, W, 3]. Returns where it is, [T, H, W]."""
    usual = float(np.median([np.hypot(*pace(walk)) for walk in walks]))
    for _ in range(DRAWS):  # until it stays in the picture for long enough
        walk = walks[rng.integers(len(walks))]
        times = usual / np.hypot(*pace(walk)) * rng.uniform(*kind.speed)
        count = int(rng.integers(*SECONDS_LIKE))
        path = walk.path.mean(axis=0) + (np.arange(count) - count / 2)[:, None] * times * pace(walk)
        inside = np.all((path > 0) & (path < clip.shape[1:3]), axis=1)
        if inside.sum() >= SHORTEST:
            break
    else:
        sys.exit(
            f"what moves crosses the picture of {clip.shape[2]}x{clip.shape[1]} so fast ({usual:.1f} pixels a frame)"
            f" that nothing faster stays in it for {SHORTEST} frames: no held-out clips can be made of it"
        )
    path = path[inside].astype(np.float32)
    at = np.rint(np.arange(len(path)) * times).astype(int) if kind.strides else np.full(len(path), len(walk.path) // 2)
    there_and_back = np.abs((at + len(walk.path) - 1) % (2 * len(walk.path) - 2) - len(walk.path) + 1)
    crops = kind.dress(walk.crops, rng)[there_and_back]
    return put(clip, Thing(crops, path), float(rng.uniform(0.9, 1.15)), rng)


def paste_decoys(clip: Bytes, walks: Sequence[Thing], rng: np.random.Generator) -> None:
    """Let others walk through a clip as they did, in their own row: nothing unusual, but pasted too.

    Without them a network that knows pasted pixels when it sees them would look like one that knows what is unusual.
    """
    pasted = 0
    while pasted < DECOYS:
        walk, other = (walks[i] for i in rng.integers(len(walks), size=2))
        path = walk.path + np.array([0, other.path[0, 1] - walk.path[0, 1]], np.float32)
        if np.all((path > 0) & (path < clip.shape[1:3])):
            put(clip, Thing(walk.crops, path), 1.0, rng)
            pasted += 1


def put(clip: Bytes, thing: Thing, size: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Paste something followed into a clip, at some time; it fades in and out. Returns what changed, [T, H, W]."""
    count = min(len(thing.path), len(clip))
    first = int(rng.integers(len(clip) - count + 1))
    at = np.arange(count)
    crops = thing.crops[:count].astype(np.float32)
    crops[..., 3] *= np.clip(np.minimum(at + 1, count - at) / FADE, 0, 1)[:, None, None]
    frames = clip[first : first + count]
    before = frames.copy()
    paste(frames, Thing(np.rint(crops).astype(np.uint8), thing.path[:count]), (size, size))
    changed = np.zeros(clip.shape[:3], np.bool_)
    changed[first : first + count] = (frames != before).any(axis=-1)
    return changed


def write_clip(folder: Path, name: str, clip: Bytes, where: NDArray[np.bool_]) -> None:
    """A folder of frames, labels and masks in the layout ``clips``."""
    for part in (folder / "labels", folder / "masks"):
        part.mkdir(parents=True, exist_ok=True)
    (folder / name).mkdir()
    for t, frame in enumerate(clip):
        Image.fromarray(frame[..., ::-1]).save(folder / name / f"{t:05}.png", compress_level=1)
    labels = np.any(where, axis=(1, 2))
    (folder / "labels" / f"{name}.txt").write_text("".join(f"{int(label)}\n" for label in labels))
    np.savez_compressed(folder / "masks" / f"{name}.npz", bits=np.packbits(where, axis=-1), shape=np.array(where.shape))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set; its test part is not read")
    parser.add_argument("--layout", default="videos", choices=sorted(LAYOUTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, metavar="N", help="hold out about so many frames (default: all of them)")
    options = parser.parse_args()
    if options.frames is not None and options.frames < 1:
        parser.error(f"--frames: expected at least 1, found {options.frames}")
    if options.out.exists():
        parser.error(f"--out {options.out}: exists already; name another one, or delete it first")
    found = read_dataset(options.data, options.layout)
    for path, reason in found.problems:
        print(f"{printable(str(path))}: left out: {reason}", file=sys.stderr)
    paths = found.train
    if len(paths) < EVERY:
        parser.error(f"{options.data}: at least {EVERY} training clips are needed, found {len(paths)}")
    names = names_of(paths)
    if len(set(names.values())) < len(names):
        parser.error(f"{options.data}: two clips would have one name, as a-b/c.mp4 and a/b-c.mp4 have; rename one")
    out = paths[EVERY - 1 :: EVERY]
    pieces = [Piece(path) for path in out]
    if options.frames:
        pieces = take_sample([count_frames(path) for path in out], options.frames)
    beside = options.out.resolve().parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="holdout-", dir=beside) as decoded:
        clips = load_clips(pieces, size_of(out), Path(decoded))  # on the disk: at their full size they may be large
        cameras, walks = walks_of(clips.frames)
        if not any(walks.values()):
            parser.error(f"{options.data}: nothing moves by itself in the held-out clips, so there is nothing to paste")
        (options.out / "train").mkdir(parents=True)
        for path in paths:
            if path not in out:
                (options.out / "train" / names[path]).symlink_to(path.resolve())
        walking = sum(map(len, walks.values()))
        print(f"{len(paths) - len(out)} clips to train on, {len(out)} held out; {walking} things walk through those")
        for index, (piece, camera, clip) in enumerate(zip(clips.pieces, cameras, clips.frames, strict=True)):
            name = names[piece.path]
            of = name if piece.path.is_dir() else str(Path(name).with_suffix(""))  # a folder's dots are no suffix
            of += f"-{piece.start_s:.0f}s" if piece.frames is not None else ""
            if walks[camera]:
                write_anomalies(options.out / "test", of, clip, walks[camera], [options.seed, index])
            else:
                print(f"{of}: left out; nothing walks through the clips of its camera")


def walks_of(clips: Sequence[Bytes]) -> tuple[list[int], dict[int, list[Thing]]]:
    """Which camera each clip is of, as training tells them apart, and what walks before each camera."""
    known: list[Background] = []
    cameras, followed = [], defaultdict(list)
    for clip in clips:
        frames = background_frames(clip)
        cameras.append(scene_among(known, Background.of(frames, colour_of(frames) <= GREY)))
        followed[cameras[-1]] += follow(clip)
    return cameras, {camera: whole_walkers(things) for camera, things in followed.items()}


def write_anomalies(folder: Path, of: str, clip: Bytes, walks: Sequence[Thing], seed: Sequence[int]) -> None:
    """A copy of the clip with each kind of anomaly in it."""
    for number, (name, kind) in enumerate(KINDS.items()):
        rng = np.random.default_rng([*seed, number])
        pasted = np.array(clip)
        paste_decoys(pasted, walks, rng)
        where = paste_anomaly(pasted, kind, walks, rng)
        write_clip(folder, f"{of}-{name}", pasted, where)
        seen = np.count_nonzero(np.any(where, axis=(1, 2)))
        print(f"test/{of}-{name}: {seen} of {len(clip)} frames are anomalous")


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """What each clip is called in one folder: the folders that it lies in are part of its name."""
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    return {path: "-".join(path.relative_to(folder).parts) for path in paths}


def size_of(paths: Sequence[Path]) -> tuple[int, int]:
    """Height and width of the first clip that can be read."""
    for path in sorted(paths):
        try:
            with closing(open_video(path)) as video:
                return video.info.height, video.info.width
        except VideoError as error:
            print(f"{path}: {error}", file=sys.stderr)
    sys.exit("none of the held-out clips can be read")


if __name__ == "__main__":
    main()
