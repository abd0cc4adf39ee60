"""A frame as the report shows it: small, dark where nobody looked, with a ring around where its score comes from."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from aedmae_fast.model.region import Region

__all__ = ["WIDTH", "ringed", "small"]

WIDTH = 480  # pixels at most
DARKER = 40  # % of its brightness, outside of the region: what is there can still be made out


def small(frame: Tensor, region: Region | None = None, aspect: float = 1.0) -> Image.Image:
    """A frame, uint8 [H, W, 3], BGR, no wider than ``WIDTH``, and of even size, as films need it.

    ``aspect`` is the width over the height of its pixels; those of the result are square.
    Outside of ``region``, which is stretched over it, it is darker.
    """
    image = Image.fromarray(np.ascontiguousarray(frame.numpy()[..., ::-1]))
    shown = image.width * aspect, image.height
    scale = min(1.0, WIDTH / shown[0])
    width, height = (max(2, round(side * scale / 2) * 2) for side in shown)
    image = image.resize((width, height))
    if region is None:
        return image
    inside = Image.fromarray(region.inside.numpy()).resize(image.size)
    return Image.composite(image, image.point([level * DARKER // 100 for level in range(256)] * 3), inside)


def ringed(image: Image.Image, x: float, y: float) -> Image.Image:
    """A ring around a place, each coordinate a share of the picture's width or height; drawn into it."""
    x, y = x * image.width, y * image.height
    draw, radius = ImageDraw.Draw(image), max(8.0, 0.09 * image.height)
    for inset, colour in ((-1, "white"), (0, "red"), (1, "red"), (2, "white")):
        draw.ellipse([x - radius + inset, y - radius + inset, x + radius - inset, y + radius - inset], outline=colour)
    return image
