"""Generate the example scene: a square seen by a fixed camera, people who walk, and now and then something else.

    python examples/make_scene.py            # writes examples/scene/{train,test}/*.mp4 and test/labels/*.txt

Normal: people cross at walking pace on two paths. Unusual, in the test clips only: a cyclist, a van on the footpath,
someone who runs across the square. A label is 1 in the frames in which any part of the unusual thing is visible.
Nothing is random beyond the seed of each clip.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH, FPS = 240, 320, 12
PATHS = (90.0, 170.0)  # rows on which people walk, pixels
EDGE = 9  # steepness of the soft edges
Image = NDArray[np.float32]  # [H, W, 3] BGR, 0..255


@dataclass(frozen=True)
class Mover:
    """Something that crosses the scene along a straight line."""

    start: int  # frame in which it is at ``x``, ``y``
    x: float  # centre, pixels
    y: float
    vx: float  # pixels a frame
    vy: float
    half_width: float
    half_height: float
    colour: tuple[float, float, float]
    unusual: bool = False
    swing: float = 0.0  # how far the legs swing, pixels

    def at(self, frame: int) -> tuple[float, float]:
        return self.x + self.vx * (frame - self.start), self.y + self.vy * (frame - self.start)

    def visible(self, frame: int) -> bool:
        x, y = self.at(frame)
        across = abs(x - WIDTH / 2) < WIDTH / 2 + self.half_width
        down = abs(y - HEIGHT / 2) < HEIGHT / 2 + self.half_height
        return frame >= self.start and across and down


def people(rng: np.random.Generator, frames: int) -> list[Mover]:
    """Walkers at a pace of 1.0 to 1.6 pixels a frame, in both directions, entering now and then."""
    walkers = []
    for start in range(-260, frames, 22):
        direction = rng.choice([-1, 1])
        walkers.append(
            Mover(
                start=start + int(rng.integers(0, 16)),
                x=-8.0 if direction > 0 else WIDTH + 8.0,
                y=float(rng.choice(PATHS) + rng.normal(0, 7)),
                vx=float(direction * rng.uniform(1.0, 1.6)),
                vy=0.0,
                half_width=float(rng.uniform(4.5, 6.0)),
                half_height=float(rng.uniform(12.0, 15.0)),
                colour=tuple(rng.uniform(20, 110, 3)),
                swing=3.0,
            )
        )
    return walkers


def unusual(kind: str, frame: int) -> Mover:
    """What a test clip holds beside its walkers, entering in ``frame``."""
    if kind == "cyclist":
        return Mover(frame, -12, PATHS[0], 5.0, 0, 11, 14, (40, 40, 150), unusual=True)
    if kind == "van":
        return Mover(frame, WIDTH + 45, PATHS[1] - 8, -2.6, 0, 44, 26, (215, 215, 205), unusual=True)
    if kind == "runner":
        return Mover(frame, 60, -14, 2.6, 3.4, 5.5, 14, (60, 60, 60), unusual=True, swing=6.0)
    raise ValueError(f"kind: expected cyclist, van or runner, found {kind!r}")


def background() -> Image:
    """Grass, two paved paths, a wall; the same in every clip."""
    rng = np.random.default_rng(7)
    coarse = np.kron(rng.normal(0, 9, (HEIGHT // 8, WIDTH // 8)), np.ones((8, 8)))
    grain = rng.normal(0, 5, (HEIGHT, WIDTH))
    image = np.empty((HEIGHT, WIDTH, 3), np.float32)
    image[:] = (70, 120, 95)
    rows = np.arange(HEIGHT)
    for path in PATHS:
        image[np.abs(rows - path - 8) < 24] = (150, 155, 160)
    image[:40] = (105, 110, 130)
    return image + (coarse + grain)[..., None].astype(np.float32)


def draw(image: Image, mover: Mover, frame: int) -> None:
    """Blend a mover into the image: a body with a soft edge and two swinging legs."""
    x, y = mover.at(frame)
    top, left = max(int(y - 1.5 * mover.half_height), 0), max(int(x - 2 * mover.half_width), 0)
    image = image[top : max(int(y + 1.5 * mover.half_height), 0), left : max(int(x + 2 * mover.half_width), 0)]
    rows, columns = np.mgrid[top : top + image.shape[0], left : left + image.shape[1]]
    body = np.maximum(np.abs(columns - x) / mover.half_width, np.abs(rows - y) / mover.half_height) ** EDGE
    if mover.swing:
        shift = mover.swing * np.sin(frame * 0.9 + mover.start)
        below = rows > y + 0.25 * mover.half_height
        legs = np.minimum(np.abs(columns - x - shift), np.abs(columns - x + shift)) / (0.45 * mover.half_width)
        body = np.where(below, np.maximum(legs, np.abs(rows - y) / mover.half_height) ** EDGE, body)
    alpha = (1 / (1 + body))[..., None].astype(np.float32)
    shade = np.where(rows < y - 0.6 * mover.half_height, 1.35, 1.0)[..., None].astype(np.float32)  # head or windscreen
    image += alpha * (np.array(mover.colour, np.float32) * shade - image)


def render(movers: list[Mover], frames: int, seed: int) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """All frames of a clip, uint8 [H, W, 3] BGR, and their labels."""
    rng, empty = np.random.default_rng(seed), background()
    images, labels = [], []
    for t in range(frames):
        image = empty.copy()
        seen = sorted((m for m in movers if m.visible(t)), key=lambda m: m.at(t)[1])
        for mover in seen:
            draw(image, mover, t)
        image += rng.normal(0, 1.2, image.shape).astype(np.float32)  # the sensor
        images.append(np.clip(image, 0, 255).astype(np.uint8))
        labels.append(int(any(m.unusual for m in seen)))
    return images, labels


def write(path: Path, images: list[NDArray[np.uint8]]) -> None:
    """Encode as H.264 in MP4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "26", "preset": "slow", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())


TEST_CLIPS = {"01": ["cyclist"], "02": ["van"], "03": ["runner"], "04": ["cyclist", "runner"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "scene")
    out = parser.parse_args().out
    for i in range(1, 5):
        images, _ = render(people(np.random.default_rng(i), 240), 240, seed=i)
        write(out / "train" / f"{i:02}.mp4", images)
        print(f"train/{i:02}.mp4: {len(images)} frames")
    for i, (name, kinds) in enumerate(TEST_CLIPS.items()):
        movers = people(np.random.default_rng(100 + i), 180) + [unusual(k, 50 + 60 * j) for j, k in enumerate(kinds)]
        images, labels = render(movers, 180, seed=100 + i)
        write(out / "test" / f"{name}.mp4", images)
        labels_path = out / "test" / "labels" / f"{name}.txt"
        labels_path.parent.mkdir(parents=True, exist_ok=True)
        labels_path.write_text("".join(f"{label}\n" for label in labels))
        print(f"test/{name}.mp4: {len(images)} frames, {sum(labels)} unusual ({', '.join(kinds)})")


if __name__ == "__main__":
    main()
