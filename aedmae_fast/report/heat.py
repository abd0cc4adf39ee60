"""Where in a picture the score comes from: a frame's anomaly map as a layer to lay over it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["layer", "written"]

COLOUR = (255, 40, 0)
OPAQUE = 120  # of 255, at the maximum: what is below stays visible
WIDTH = 160  # pixels at most; a map is smooth, and a browser stretches it

Values = NDArray[np.floating[Any]]


def written(out: Path, entry: Mapping[str, Any], frame: int, stride: int) -> Values | None:
    """A frame's map [H, W] from the file that ``score --maps`` wrote; None where there is none, or not of this frame.

    Args:
        entry: of the frame's video, as in the manifest.
        stride: of the scores; the frames between the scored ones have the map of the last one, as they have its place.
    """
    if not entry.get("maps"):
        return None
    try:
        maps = np.load(out / entry["maps"], mmap_mode="r")
        return np.asarray(maps[frame // stride], dtype=np.float32)
    except (OSError, EOFError, ValueError, IndexError):
        return None


def layer(values: Values) -> str | None:
    """A map as a PNG that is opaque where it is high, in base64; None where it is the same everywhere.

    From the map's median, which is clear, to its maximum: how high that is, the score tells.
    """
    low, high = np.median(values), values.max()
    if not high > low:
        return None
    alpha = ((values - low) / (high - low)).clip(0, 1) * OPAQUE
    picture = Image.new("RGBA", (values.shape[1], values.shape[0]), COLOUR)
    picture.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    picture.thumbnail((WIDTH, WIDTH))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
