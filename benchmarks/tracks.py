"""Things followed through a clip, frame after frame: what walks in it, as it walks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.training.objects import (
    PACE,
    Background,
    Part,
    background_frames,
    crop_size,
    cut_thing,
    find_again,
    find_parts,
)
from aedmae_fast.training.things import Bytes, Thing

SHORTEST = 20  # frames


def follow(clip: Bytes) -> list[Thing]:
    """Everything in a clip uint8 [T, H, W, 3] that can be told from all else for long enough.

    Their crops [N, h, w, 4] and paths [N, 2] are of N >= SHORTEST consecutive frames, and end where a thing touches
    another or the frame's edge.
    """
    background = Background.of(background_frames(clip), grey=True).pixels
    ended: list[tuple[int, list[Part]]] = []  # the frame after the last, and what was seen
    followed: list[list[Part]] = []
    for t, frame in enumerate(clip):
        parts = find_parts(frame, background)
        seen: list[list[Part]] = []
        for track in followed:
            again = find_again(track[-1], parts, PACE * clip.shape[2])
            if again is None:
                ended.append((t, track))
            else:
                parts = [part for part in parts if part is not again]
                track.append(again)
                seen.append(track)
        followed = seen + [[part] for part in parts]
    ended += [(len(clip), track) for track in followed]
    cut = []
    for end, track in ended:
        run = _inside(track, clip.shape[1:3])
        if len(run) >= SHORTEST:
            first = end - len(track) + run.start
            cut.append(cut_thing(list(clip[first : first + len(run)]), track[run.start : run.stop]))
    return [thing for thing in cut if thing is not None]


def _inside(track: list[Part], frame: tuple[int, ...]) -> range:
    """The longest time for which a thing is in the frame as a whole."""
    size = crop_size(track)
    longest, start = range(0), 0
    for i, part in enumerate(track):
        if any(at < 0 or at + side > extent for at, side, extent in zip(part.corner(size), size, frame, strict=True)):
            start = i + 1
        elif i + 1 - start > len(longest):
            longest = range(start, i + 1)
    return longest


def pace(thing: Thing) -> NDArray[np.float32]:
    """Pixels per frame, rows and columns, of something followed."""
    velocity: NDArray[np.float32] = (thing.path[-1] - thing.path[0]) / (len(thing.path) - 1)
    return velocity
