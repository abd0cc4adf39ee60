"""Names, times and tables as people read them."""

from __future__ import annotations

import os

import pytest

from aedmae_fast.text import duration, printable, table


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain ä.mp4", "plain ä.mp4"),
        ("two\nlines\x1b[2J", "two\\nlines\\x1b[2J"),
        (os.fsdecode(b"\xff.mp4"), "\\xff.mp4"),
    ],
)
def test_names_stay_on_their_line(name: str, shown: str) -> None:
    assert printable(name) == shown


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (59.6, "1:00"), (605, "10:05"), (360000, "100:00:00")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("file", "frames", "status"), ("a.mp4", "7", "ok"), ("b", "123456789", "corrupt (cut)")]
    assert table(rows, "<><").splitlines() == [
        "file      frames  status",
        "-----  ---------  -------------",
        "a.mp4          7  ok",
        "b      123456789  corrupt (cut)",
    ]
