"""A few pictures as an H.264 film in memory, which every browser shows."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

__all__ = ["encode_mp4"]

ENCODER = "libx264"
OPTIONS = {"preset": "veryfast", "crf": "27"}  # 480x270, 12 frames/s: 10 to 40 kB a second
MILLISECOND = Fraction(1, 1000)


def encode_mp4(pictures: Iterable[tuple[float, NDArray[np.uint8]]]) -> bytes:
    """Encode pictures as they come.

    Args:
        pictures: at least one; the time of each in seconds, growing by a millisecond or more, and uint8 [H, W, 3], RGB,
            of one size, H and W even. The first is shown at once, whatever its time.

    Raises:
        ImportError: this PyAV was built without x264.
        ValueError: no pictures, or of odd or changing size.
    """
    if ENCODER not in av.codecs_available:
        raise ImportError(f"{ENCODER}: this PyAV has no such encoder; the wheels on PyPI have")
    buffer, start = io.BytesIO(), None
    with av.open(buffer, "w", format="mp4") as container:
        stream = cast(VideoStream, container.add_stream(ENCODER, options=OPTIONS))
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", MILLISECOND
        for time, picture in pictures:
            height, width, _ = picture.shape
            if start is None:
                if height % 2 or width % 2:
                    raise ValueError(f"pictures: expected even height and width, found {height}x{width}")
                start, stream.width, stream.height = time, width, height
            if (height, width) != (stream.height, stream.width):
                raise ValueError(
                    f"pictures: expected {stream.height}x{stream.width} as the first, found {height}x{width}"
                )
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = round((time - start) * 1000), MILLISECOND
            container.mux(stream.encode(frame))
        if start is None:
            raise ValueError("pictures: expected at least one, found none")
        container.mux(stream.encode())
    return buffer.getvalue()
