"""The region of interest: where in the picture to look.

What lies outside of it (a clock, a tree in the wind, the road behind the fence) is black in every frame that the
network sees and 0 in every map, before the filter. So two videos that differ there alone have the same scores. A
network that was trained with a region is used to that black, and brings its region along.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aedmae_fast.config import CHANNELS
from aedmae_fast.video.image_files import BROKEN_IMAGE, IMAGE_FORMATS

__all__ = ["Region", "load_region"]

WHITE = 128  # grey level from which a pixel is looked at


class Region:
    """Part of the network's input.

    Args:
        inside: bool [H, W] on the CPU, at the network's size: True where to look.

    Raises:
        TypeError: ``inside`` is not bool.
        ValueError: ``inside`` is not [H, W], or True nowhere.
    """

    def __init__(self, inside: Tensor) -> None:
        if inside.dtype != torch.bool:
            raise TypeError(f"inside: expected bool, found {inside.dtype}")
        if inside.ndim != 2:
            raise ValueError(f"inside: expected [H, W], found {tuple(inside.shape)}")
        if not inside.any():
            raise ValueError("inside: expected True where to look, found it nowhere")
        self.inside = inside
        keep = inside[..., None].expand(-1, -1, CHANNELS).to(torch.uint8) * 255  # [H, W, 3]
        self._keep = {torch.device("cpu"): keep.contiguous()}

    @property
    def share(self) -> float:
        """Of the picture, 0..1."""
        return float(self.inside.double().mean())

    def fingerprint(self) -> str:
        """Of its pixels, in hexadecimal."""
        return hashlib.sha256(self.inside.numpy().tobytes()).hexdigest()[:16]

    def hide(self, frames: Tensor) -> None:
        """Make frames black outside, in place: uint8 [..., H, W, 3] on any device."""
        keep = self._keep.get(frames.device)
        if keep is None:
            keep = self._keep[frames.device] = self._keep[torch.device("cpu")].to(frames.device)
        if frames.is_cuda:
            frames.bitwise_and_(keep)
        else:  # without torch, whose threads would be one team more beside those that compute
            np.bitwise_and(frames.numpy(), keep.numpy(), out=frames.numpy())


def load_region(path: str | Path, size: tuple[int, int]) -> Region:
    """Read a region from an image: white where to look, black where not. Of any size; it is stretched over the picture.

    Args:
        size: height and width of the network's input.

    Raises:
        ValueError: ``path`` is no whole image, or black all over.
        OSError: ``path`` cannot be read.
    """
    height, width = size
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            grey = image.convert("L").resize((width, height), Image.Resampling.BOX)
    except BROKEN_IMAGE as error:
        if getattr(error, "filename", None):  # of the file system, and names it
            raise
        raise ValueError(f"region: {path} is no whole image; expected one that is white where to look") from error
    inside = torch.from_numpy(np.array(grey) >= WHITE)
    if not inside.any():
        raise ValueError(f"region: {path} is black all over; expected an image that is white where to look")
    return Region(inside)
