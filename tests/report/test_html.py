"""The page of what stood out: everything is in it, nothing is taken for markup, and a video may be gone."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aedmae_fast.model.region import Region
from aedmae_fast.report.heat import COLOUR, OPAQUE
from aedmae_fast.report.html import MOST, clock, highest, write_report
from aedmae_fast.report.picture import DARKER
from aedmae_fast.video import mp4, read_frames
from tests.clips import read_index, write_clip

SETTINGS = {"preset": "anomaly-map", "precision": "fp32", "device": "cpu", "version": "1"}


PLACE = 100, 70  # x, y


def entry(name: str, *scores: float, status: str = "ok", place: tuple[int, int] | None = PLACE) -> dict[str, Any]:
    x, y = place or (None, None)
    events = [
        {
            "score": score,
            "start_s": 0.4,
            "end_s": 0.8,
            "start_frame": 10,
            "end_frame": 20,
            "time_s": 0.6,
            "frame": 15,
            "x": x,
            "y": y,
        }
        for score in scores
    ]
    reason = "" if status == "ok" else "bytes <lost>"
    size = {"frames": 30, "seekable": True, "width": 128, "height": 96}
    return {"status": status, "reason": reason, **size, "events": events, "output": f"{name}.csv"}


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., str]:
    def write(entries: dict[str, dict[str, Any]], stride: int = 1, region: Region | None = None) -> str:
        for name in entries:
            x, y = PLACE if entries[name]["events"] and entries[name]["events"][0]["x"] is not None else ("", "")
            lines = [f"{i},{i / 25},{'' if i == 3 else i / 30},{x},{y}" for i in range(30)]
            (tmp_path / f"{name}.csv").write_text("\n".join(["frame,time_s,score,x,y", *lines]))
        videos = {name: tmp_path / name for name in entries}
        settings = {**SETTINGS, "stride": stride}
        count = write_report(tmp_path / "report.html", tmp_path, settings, entries, videos, region)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert text.count("<section>") == count
        HTMLParser().feed(text)
        return text

    return write


def picture_in(text: str) -> np.ndarray:
    data = re.search(r"base64,([^\"]+)", text)
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))


def test_the_frame_with_a_ring_around_the_place(page: Callable[..., str], tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    found = picture_in(page({"a.mp4": entry("a.mp4", 1.5)}))
    assert found.shape == (96, 128, 3)
    assert read_index(found[..., 1]) == 15
    red = np.argwhere((found[..., 0] > 200) & (found[..., 1] < 90) & (found[..., 2] < 90))
    assert len(red)
    np.testing.assert_allclose((red.min(0) + red.max(0)) / 2, PLACE[::-1], atol=1.5)  # y, x


def film_in(text: str, tmp_path: Path) -> Iterator[np.ndarray]:
    """The frames, BGR, of a film that plays by itself."""
    film = re.search(r"<video src=\"data:video/mp4;base64,([^\"]+)\" autoplay", text)
    assert film is not None
    (tmp_path / "film.mp4").write_bytes(base64.b64decode(film[1]))
    return (frame.numpy() for _, frame in read_frames(tmp_path / "film.mp4", 0))


def test_a_film_of_what_is_around_it(page: Callable[..., str], tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    text = page({"a.mp4": entry("a.mp4", 1.5)})
    assert "<details><summary>watch 0:00.0 – 0:01.6</summary>" in text
    assert [read_index(frame[..., 1]) for frame in film_in(text, tmp_path)] == list(range(0, 30, 2))


def test_it_is_dark_where_nobody_looked(page: Callable[..., str], tmp_path: Path) -> None:
    """In the picture and in the film."""
    write_clip(tmp_path / "a.mp4")
    inside = torch.ones(24, 32, dtype=torch.bool)
    inside[12:, :16] = False
    stills, films = [], []
    for region in (None, Region(inside)):
        text = page({"a.mp4": entry("a.mp4", 1.5)}, region=region)
        stills.append(picture_in(text).astype(float))
        films.append(next(film_in(text, tmp_path))[..., ::-1].astype(float))
    for plain, looked_at in (stills, films):
        assert np.abs(plain - looked_at)[:46].mean() < 4
        ratio = looked_at[50:, :62].mean() / plain[50:, :62].mean()
        assert ratio == pytest.approx(DARKER / 100, abs=0.03)


def test_no_film_without_an_encoder(page: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture is there all the same."""
    monkeypatch.setattr(mp4, "ENCODER", "none-such")
    write_clip(tmp_path / "a.mp4")
    text = page({"a.mp4": entry("a.mp4", 1.5)})
    assert "<p>no film: none-such: this PyAV has no such encoder" in text
    assert "<video" not in text
    assert read_index(picture_in(text)[..., 1]) == 15


def layers_in(text: str) -> list[np.ndarray]:
    found = re.findall(r"<img class=\"heat\" src=\"data:image/png;base64,([^\"]+)", text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


@pytest.mark.parametrize("stride", [1, 4])
def test_heat_lies_over_the_frame_it_is_of(page: Callable[..., str], tmp_path: Path, stride: int) -> None:
    """Opaque where the map is high, clear where it is as in most of it; a box turns all of it off, without scripts."""
    write_clip(tmp_path / "a.mp4")
    maps = np.full((-(-30 // stride), 24, 32), 3, np.float16)
    maps[15 // stride, 6:9, 20:24] = 5  # the shown frame's, or of the last one scored before it
    maps[15 // stride, 12] = 1  # lower than most
    np.save(tmp_path / "a.mp4.npy", maps)
    text = page({"a.mp4": {**entry("a.mp4", 1.5), "maps": "a.mp4.npy"}}, stride)
    (layer,) = layers_in(text)
    assert layer.shape == (24, 32, 4)
    high = np.zeros((24, 32), bool)
    high[6:9, 20:24] = True
    assert (layer[high] == (*COLOUR, OPAQUE)).all()
    assert (layer[~high, 3] == 0).all()
    assert picture_in(text).shape == (96, 128, 3)  # as it was
    assert '<input type="checkbox" id="heat" checked>' in text
    assert "<script" not in text


@pytest.mark.parametrize("content", ["gone", "torn", "short", "flat"])
def test_no_heat_where_there_is_none(page: Callable[..., str], tmp_path: Path, content: str) -> None:
    write_clip(tmp_path / "a.mp4")
    if content != "gone":
        np.save(tmp_path / "a.mp4.npy", np.ones((15 if content == "short" else 30, 4, 4), np.float16))
    if content == "torn":
        (tmp_path / "a.mp4.npy").write_bytes((tmp_path / "a.mp4.npy").read_bytes()[:200])
    text = page({"a.mp4": {**entry("a.mp4", 1.5), "maps": "a.mp4.npy"}})
    assert layers_in(text) == []
    assert "<input" not in text
    assert read_index(picture_in(text)[..., 1]) == 15


def test_large_videos_are_shown_small_and_pictures_without_a_place_as_they_are(
    page: Callable[..., str], tmp_path: Path
) -> None:
    write_clip(tmp_path / "a.mp4", size=(1280, 720), frames=16)
    found = picture_in(page({"a.mp4": {**entry("a.mp4", 1.5, place=None), "width": 1280, "height": 720}}))
    assert found.shape == (270, 480, 3)
    assert read_index(np.asarray(Image.fromarray(found[..., 1]).resize((1280, 720)))) == 15


def test_what_is_on_it(page: Callable[..., str], tmp_path: Path) -> None:
    """Events of all files, highest first, every file, and no name or reason as markup."""
    entries = {
        "<b>x</b>.mp4": entry("<b>x</b>.mp4", 1.0, 0.5).copy(),
        "quiet.mp4": entry("quiet.mp4"),
        "cut.mp4": entry("cut.mp4", 2.0, status="truncated"),
    }
    (tmp_path / "<b>x<").mkdir()  # "/" is a folder in a name
    text = page(entries)
    assert re.findall(r"<h2><b>(\d)</b> (.*)</h2>", text) == [
        ("1", "cut.mp4"),
        ("2", "&lt;b&gt;x&lt;/b&gt;.mp4"),
        ("3", "&lt;b&gt;x&lt;/b&gt;.mp4"),
    ]
    assert text.count("no picture: no such file or directory") == 3
    assert text.count("0:00.4 – 0:00.8") == 3
    assert "<td>truncated: bytes &lt;lost&gt;</td>" in text
    assert "3 files, 1 not ok, 90 frames; preset anomaly-map" in text
    assert text.count("<polyline") == 3
    assert "nan" not in text
    for address in re.findall(r"(?:src|href)=\"([^\"]*)", text):
        assert address.startswith("data:")


def test_no_events(page: Callable[..., str]) -> None:
    assert "No file has an event." in page({"a.mp4": entry("a.mp4")})


def test_what_failed_is_in_the_list_of_files_alone(page: Callable[..., str]) -> None:
    """A score that is not a number in some frames, or a disk that was full: no CSV, whatever the events."""
    text = page({"a.mp4": {**entry("a.mp4", 1.5, status="failed"), "output": None}})
    assert "No file has an event." in text
    assert "<td>failed: bytes &lt;lost&gt;</td>" in text


def test_only_the_highest() -> None:
    entries = {f"{i}": entry(f"{i}", *np.random.default_rng(i).random(9)) for i in range(9)}
    found = highest(entries, {name: Path(name) for name in entries})
    every = sorted((event["score"] for e in entries.values() for event in e["events"]), reverse=True)
    assert [highlight.event["score"] for highlight in found] == every[:MOST]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (9.96, "0:10.0"), (59.97, "1:00.0"), (3599.94, "59:59.9"), (3600, "1:00:00.0")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
