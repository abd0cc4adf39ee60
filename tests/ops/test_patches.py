"""Patches by hand, and back."""

from __future__ import annotations

import torch

from aedmae_fast.ops.patches import patchify, unpatchify


def test_patches_by_hand() -> None:
    """Four patches of 2 x 2 pixels, of which each is its number; and back."""
    image = torch.arange(16).reshape(1, 4, 4, 1)
    patches = patchify(image, 2)
    assert patches[0, ..., 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert torch.equal(unpatchify(patches.flatten(2), (4, 4), 2), image)


def test_channels_of_a_pixel_stay_together() -> None:
    image = torch.randint(0, 256, (2, 6, 9, 4))
    patches = patchify(image, 3)
    assert patches.shape == (2, 6, 9, 4)
    assert torch.equal(patches[1, 4, 5], image[1, 3 + 1, 3 + 2])  # row 1, column 2 of the patch in row 1, column 1
    assert torch.equal(unpatchify(patches.flatten(2), (6, 9), 3), image)
