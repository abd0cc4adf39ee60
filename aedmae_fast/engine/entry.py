"""One video's record in a job's manifest."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from aedmae_fast.engine.events import Event
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.video.images import frame_paths

__all__ = ["Entry", "describe", "fingerprint"]

Entry = dict[str, Any]


def fingerprint(path: Path) -> Entry | None:
    """Size and time of change; of a folder, those of its frames, and how many. None where it cannot be read."""
    try:
        if not path.is_dir():
            status = path.stat()
            return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        images = [image.stat() for image in frame_paths(path)]
        newest = max((image.st_mtime_ns for image in images), default=0)
        return {"size": sum(image.st_size for image in images), "mtime_ns": newest, "images": len(images)}
    except OSError:
        return None


def describe(scores: ClipScores, place: str, source: Entry | None) -> Entry:
    """What is known once a video is scored; it names no output yet.

    Args:
        place: where the video lies.
        source: its fingerprint from before it was read.
    """
    info, peak = scores.info, scores.peak
    return {
        "status": scores.status.value,
        "reason": scores.reason,
        "frames": scores.frames,
        "expected_frames": info.expected_frames if info else None,
        "fps": info.fps if info else None,
        "width": info.width if info else None,
        "height": info.height if info else None,
        "aspect": info.aspect if info else None,
        "codec": info.codec if info else None,
        "decoder": info.decoder if info else None,
        "seconds": round(scores.seconds, 3),
        "peak_frame": peak[0] if peak else None,
        "peak_score": peak[1] if peak else None,
        "events": [_describe_event(scores, event) for event in scores.events],
        "place": place,
        "source": source,
        "passing": scores.passing,
        "seekable": scores.seekable,
        "output": None,
        "maps": None,
    }


def _describe_event(scores: ClipScores, event: Event) -> Entry:
    start_s, end_s, time_s = (round(float(scores.time_s[i]), 6) for i in (event.start, event.end, event.frame))
    x, y = (None if math.isnan(at) else round(at) for at in (scores.x[event.frame], scores.y[event.frame]))
    return {
        "score": event.score,
        "start_s": start_s,
        "end_s": end_s,
        "start_frame": event.start,
        "end_frame": event.end,
        "time_s": time_s,  # and what follows: of the frame to look at
        "frame": event.frame,
        "x": x,
        "y": y,
    }
