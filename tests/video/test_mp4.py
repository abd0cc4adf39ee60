"""encode_mp4: what goes in comes out, and what no film can be made of is said."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from aedmae_fast.video import mp4, read_frames
from aedmae_fast.video.mp4 import encode_mp4

WAVES = np.add.outer(np.arange(48), np.arange(64)) % 64 * 3


def pictures(count: int, size: tuple[int, int] = (48, 64)) -> list[tuple[float, np.ndarray]]:
    """At 5.00, 5.04, 5.12, ... seconds, brighter from each to the next."""
    of = np.zeros((*size, 3), np.uint8)
    of[...] = np.resize(WAVES, size)[..., None]
    return [(5 + 0.04 * i * (i + 1) / 2, of + np.uint8(4 * i)) for i in range(count)]


def test_pictures_and_times(tmp_path: Path) -> None:
    given = pictures(8)
    (tmp_path / "a.mp4").write_bytes(encode_mp4(given))
    found = list(read_frames(tmp_path / "a.mp4", 0))
    np.testing.assert_allclose([time for time, _ in found], [time - 5 for time, _ in given], atol=1e-3)
    for (_, picture), (_, frame) in zip(given, found, strict=True):
        assert np.abs(frame.numpy()[..., ::-1].astype(int) - picture).mean() < 4


def test_browsers_show_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(encode_mp4(pictures(2)))
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "at least one, found none"),
        (pictures(1, (47, 64)), "even height and width, found 47x64"),
        ([*pictures(1), *pictures(1, (48, 32))], "expected 48x64 as the first, found 48x32"),
    ],
)
def test_what_is_no_film(given: list[tuple[float, np.ndarray]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        encode_mp4(given)


def test_without_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mp4, "ENCODER", "none-such")
    with pytest.raises(ImportError, match="none-such"):
        encode_mp4(pictures(1))
