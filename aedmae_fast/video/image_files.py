"""What is read as an image, and what Pillow raises where it is damaged: of frames, masks and regions alike."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

__all__ = ["BROKEN_IMAGE", "IMAGE_FORMATS"]

# What images are read as, whatever their names: Pillow knows others that start programs, such as Ghostscript.
IMAGE_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")

# What Pillow raises for damaged files: it has no common base class for it.
BROKEN_IMAGE = (
    OSError,  # truncated data, and UnidentifiedImageError
    SyntaxError,  # broken PNG chunks
    ArithmeticError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
