"""A frame in patches of d x d pixels, one after the other, as the network predicts it; and back."""

from __future__ import annotations

from torch import Tensor

__all__ = ["patchify", "unpatchify"]


def patchify(image: Tensor, patch: int) -> Tensor:
    """[B, H, W, C] -> [B, L, patch*patch, C], rows first among the patches and within each."""
    b, h, w, c = image.shape
    x = image.reshape(b, h // patch, patch, w // patch, patch, c).transpose(2, 3)
    return x.reshape(b, h // patch * (w // patch), patch * patch, c)


def unpatchify(tokens: Tensor, size: tuple[int, int], patch: int) -> Tensor:
    """[B, L, patch*patch*C] -> [B, H, W, C], the inverse; ``size`` is H, W."""
    h, w = size
    channels = tokens.shape[2] // patch**2
    x = tokens.reshape(len(tokens), h // patch, w // patch, patch, patch, channels)
    return x.transpose(2, 3).reshape(len(tokens), h, w, channels)
