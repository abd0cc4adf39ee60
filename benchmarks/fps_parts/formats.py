"""Clips of several sizes and codecs: how decoding grows with the files decoded at a time, and what bounds each.

A decode session is one file that is being decoded: a thread of the engine's feed, with a decoder of its own. On a CPU
there are as many as cores; a GPU has hardware for a few at a time, and is asked for up to 14.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clips import make_clip

from aedmae_fast import Scorer
from aedmae_fast.engine.cores import usable_cores

from . import end_to_end

STANDARD = [f"{size}:{codec}" for codec in ("libx264", "libx265") for size in ("640x360", "1280x720", "1920x1080")]
SESSIONS = 14  # at most, on a GPU


def measure(scorer: Scorer, folder: Path, formats: list[str], frames: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Frames per second of each format, one after the other: decoding alone by sessions, end to end and its ceilings.

    Args:
        formats: ``WxH:CODEC``, the codec being the encoder's name.
        frames: of each clip, which is made in ``folder``.

    Raises:
        ValueError: a format of another form.
    """
    for name in formats:
        if not (parts := re.fullmatch(r"(\d+)x(\d+):(\w+)", name)):
            raise ValueError(f"--formats: expected WxH:CODEC such as 640x360:libx264, found {name!r}")
        width, height, codec = parts.groups()
        clip = make_clip(folder / f"{width}x{height}-{codec}.mp4", frames, (int(width), int(height)), codec)
        sessions, decoded_by = _sweep(scorer, clip, frames, rounds)
        together = [clip] * max(2, int(scorer.choices["workers"].value))
        rates, also_by = end_to_end.measure(scorer, together, rounds)
        summary = end_to_end.summarise(end_to_end.Measured(rates, decoded_by | also_by))
        yield {"format": name, "sessions": sessions, **summary}


def _sweep(scorer: Scorer, clip: Path, frames: int, rounds: int) -> tuple[list[dict[str, Any]], set[str]]:
    """A row for each number of sessions, and all that decoded in them."""
    on_gpu = scorer.runner.device.type == "cuda"
    counts = range(1, (SESSIONS if on_gpu else usable_cores()[0]) + 1)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    decoded_by: set[str] = set()
    end_to_end.decode(scorer, [clip], 1)  # warm-up
    for _ in range(rounds):
        for count in counts:
            found, seconds, by = end_to_end.decode(scorer, [clip] * count, count)
            decoded_by |= by
            assert found == count * frames, f"{clip.name}: {found} of {count * frames} frames"
            rates[count].append(found / seconds)
    rows = [{"sessions": n, "decode_fps": round(statistics.median(values), 2)} for n, values in rates.items()]
    return rows, decoded_by
