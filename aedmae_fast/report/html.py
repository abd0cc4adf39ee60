"""One page of what stood out in an archive: the highest events with a picture, and a line for every file.

The page is one file without references to others, so that it can be mailed. It is made from the job's folder alone, and
from the videos for the pictures: a video that is gone by then has no picture, and all else.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from aedmae_fast.engine.postprocess import Series
from aedmae_fast.engine.table import read_columns
from aedmae_fast.files import replacing
from aedmae_fast.model.region import Region
from aedmae_fast.report import heat
from aedmae_fast.report.film import Shots, Track, can_seek, shoot, span
from aedmae_fast.report.normal import NormalScores
from aedmae_fast.report.picture import WIDTH
from aedmae_fast.text import printable

__all__ = ["MOST", "write_report"]

MOST = 24  # events on the page
CURVE = (480, 48)  # width and height of a clip's curve

Entry = Mapping[str, Any]  # of a file, as in the manifest


class Highlight(NamedTuple):
    """An event of a file."""

    name: str
    path: Path
    entry: Entry
    event: Mapping[str, Any]


class View(NamedTuple):
    """What all events are shown by."""

    out: Path  # folder with the maps
    stride: int  # of the scores
    region: Region | None
    normal: NormalScores | None


def write_report(
    path: Path,
    out: Path,
    settings: Entry,
    entries: Mapping[str, Entry],
    videos: Mapping[str, Path],
    region: Region | None = None,
    normal: NormalScores | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> int:
    """Write the page; returns how many events are on it.

    Args:
        path: of the page.
        out: folder with the CSV files.
        settings: as in the manifest, with the stride.
        entries: the files as in the manifest, by name.
        videos: where the files are, by name.
        region: of the scores; what is outside of it is darker in the pictures.
        normal: what to say how rare the events are by.
        on_done: called with how many events are done, and of how many.

    Raises:
        OSError: the page cannot be written, or a CSV not read.
    """
    found, view = highest(entries, videos), View(out, settings["stride"], region, normal)
    cards: dict[int, str] = {}
    by_file = sorted(enumerate(found, 1), key=lambda ranked: ranked[1].name)
    for name, ranked in groupby(by_file, key=lambda ranked: ranked[1].name):
        if on_done:
            on_done(len(cards), len(found))
        of_file, entry = list(ranked), entries[name]
        track = Track(*read_columns(out / entry["output"], Track._fields))
        shots = [Shots(entry, highlight.event, track, region) for _, highlight in of_file]
        shoot(videos[name], shots, can_seek(entry))
        for (rank, highlight), pictures in zip(of_file, shots, strict=True):
            cards[rank] = _card(rank, highlight, track, pictures, view)
    shown = "\n".join(cards[rank] for rank in sorted(cards))
    rows = "\n".join(_row(name, entry) for name, entry in entries.items())
    troubled = sum(entry["status"] != "ok" for entry in entries.values())
    page = PAGE.substitute(
        summary=escape(
            f"{len(entries)} files, {troubled} not ok, {sum(e['frames'] for e in entries.values())} frames; preset"
            f" {settings['preset']}, {settings['precision']} on {settings['device']}, aedmae_fast {settings['version']}"
        ),
        cards=shown or "<p>No file has an event.</p>",
        toggle=TOGGLE if HEAT in shown else "",
        rows=rows,
        width=WIDTH,
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")
    return len(found)


def highest(entries: Mapping[str, Entry], videos: Mapping[str, Path]) -> list[Highlight]:
    """The highest events of all files, highest first. What failed has no scores that could be shown."""
    scored = [(name, entry) for name, entry in entries.items() if entry["output"] is not None]
    every = [Highlight(name, videos[name], entry, event) for name, entry in scored for event in entry["events"]]
    return sorted(every, key=lambda highlight: -highlight.event["score"])[:MOST]


def clock(seconds: float) -> str:
    """``m:ss.t`` or ``h:mm:ss.t``."""
    minutes, rest = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest // 10:02}.{rest % 10}"


def _card(rank: int, highlight: Highlight, track: Track, shots: Shots, view: View) -> str:
    event = highlight.event
    when = f"{clock(event['start_s'])} – {clock(event['end_s'])}"
    place = "" if event["x"] is None else f", at x {event['x']}, y {event['y']}"
    shown = f"{clock(event['time_s'])}, frame {event['frame']}{place}"
    rarity = "" if view.normal is None else f", {view.normal.tell(event['score'])}"
    return CARD.substitute(
        rank=rank,
        name=escape(printable(highlight.name)),
        when=when,
        detail=escape(f"score {event['score']:.4g}{rarity}; shown: {shown}"),
        still=_still(shots, event["frame"]),
        heat=_heat(highlight, view),
        curve=_curve(track.score, event["start_frame"], event["end_frame"]),
        film=_film(shots, event),
    )


def _still(shots: Shots, frame: int) -> str:
    if shots.still is None:
        return f"<p>no picture: {escape(printable(shots.trouble))}</p>"
    buffer = io.BytesIO()
    shots.still.save(buffer, "JPEG", quality=85)
    return f'<img src="data:image/jpeg;base64,{_base64(buffer.getvalue())}" alt="frame {frame}">'


def _film(shots: Shots, event: Entry) -> str:
    """To be opened; it plays as soon as it is seen, without scripts."""
    if shots.still is None:
        return ""
    if not shots.film:
        return f"<p>no film: {escape(printable(shots.trouble))}</p>"
    start, end = span(event)
    return FILM.substitute(when=f"{clock(start)} – {clock(end)}", data=_base64(shots.film))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _heat(highlight: Highlight, view: View) -> str:
    """The layer for the picture; empty where there is no map."""
    values = heat.written(view.out, highlight.entry, highlight.event["frame"], view.stride)
    data = None if values is None else heat.layer(values)
    return "" if data is None else f'<img {HEAT} src="data:image/png;base64,{data}" alt="">'


def _curve(score: Series, start: int, end: int) -> str:
    """A clip's score over its frames, those of an event shaded; of several frames in a pixel the highest."""
    width, height = CURVE
    bins = np.array_split(np.nan_to_num(score, nan=0.0), min(len(score), width))
    tops = np.array([part.max() for part in bins])
    low, high = tops.min(), tops.max()
    levels = (tops - low) / (high - low) if high > low else np.zeros_like(tops)
    across = (np.arange(len(tops)) + 0.5) * width / len(tops)
    points = " ".join(f"{x:.1f},{(1 - y) * (height - 4) + 2:.1f}" for x, y in zip(across, levels, strict=True))
    first, last = (frame * width / len(score) for frame in (start, end + 1))
    return CURVE_SVG.substitute(
        width=width, height=height, points=points, start=f"{first:.1f}", shaded=f"{max(last - first, 1):.1f}"
    )


def _row(name: str, entry: Entry) -> str:
    best = entry["events"][0] if entry["events"] else None
    reason = f": {entry['reason']}" if entry["reason"] else ""
    cells = (
        escape(printable(name)),
        f"{entry['frames']}",
        f"{best['score']:.4g}" if best else "",
        clock(best["time_s"]) if best else "",
        escape(printable(entry["status"] + reason)),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


CURVE_SVG = Template(
    '<svg viewBox="0 0 $width $height" preserveAspectRatio="none"><rect x="$start" width="$shaded" height="$height"/>'
    '<polyline points="$points"/></svg>'
)

HEAT = 'class="heat"'
TOGGLE = (
    '<input type="checkbox" id="heat" checked> <label for="heat">heat: where the score comes from,'
    " from the middle of the frame's values (clear) to its highest</label>"
)

FILM = Template(
    "<details><summary>watch $when</summary>"
    '<video src="data:video/mp4;base64,$data" autoplay controls loop muted playsinline></video></details>'
)

CARD = Template(
    """<section>
<h2><b>$rank</b> $name</h2>
<div class="still">$still$heat</div>
$curve
$film
<p>$when<br><small>$detail</small></p>
</section>"""
)

PAGE = Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>aedmae_fast: what stood out</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em; color: #222; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1em; }
section { border: 1px solid #ccc; border-radius: 6px; padding: .8em; }
section h2 { font-size: 1em; margin: 0 0 .5em; overflow-wrap: anywhere; font-weight: normal; }
section p { margin: .4em 0 0; }
.still { position: relative; max-width: ${width}px; }
img, video { width: 100%; display: block; }
summary { cursor: pointer; margin-top: .4em; }
video { max-width: ${width}px; }
.heat { position: absolute; top: 0; left: 0; height: 100%; }
#heat:not(:checked) ~ main .heat { display: none; }
svg { width: 100%; height: 48px; background: #f4f4f4; margin-top: .4em; }
polyline { fill: none; stroke: #c00; stroke-width: 1.2; vector-effect: non-scaling-stroke; }
rect { fill: #fbd9a0; }
small, .summary { color: #666; }
table { border-collapse: collapse; margin-top: 1em; }
td, th { text-align: left; padding: .2em .8em .2em 0; border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
</style>
<h1>What stood out</h1>
<p class="summary">$summary. The highest stretches of all files, highest first; the ring is where the score comes from.
There is no threshold: what is usual has highest stretches too.</p>
$toggle
<main>
$cards
</main>
<h1>Files</h1>
<table>
<tr><th>file</th><th>frames</th><th>highest score</th><th>at</th><th>status</th></tr>
$rows
</table>
"""
)
