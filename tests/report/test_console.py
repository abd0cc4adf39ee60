"""What the console says of a job's progress."""

from __future__ import annotations

import io
import os
from types import SimpleNamespace

import pytest

from aedmae_fast.report import console
from aedmae_fast.report.console import Console


def test_the_time_left_is_of_all_files(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not opened yet are taken as long as the opened ones are on average."""
    now = 1000.0
    monkeypatch.setattr(console, "time", SimpleNamespace(perf_counter=lambda: now))
    said = Console(quiet=False)
    said.start(files=4)
    for frames in (100, 300):
        said.opened(frames)
    now += 40
    said.scored(80)
    assert capsys.readouterr().err == "0/4 files, 80 frames, 2.0 frames/s, 6:00 left\n"  # for 720 of 800 frames


def test_files_that_tell_no_length(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is scored already is the least that there is."""
    now = 0.0
    monkeypatch.setattr(console, "time", SimpleNamespace(perf_counter=lambda: now))
    said = Console(quiet=False)
    said.start(files=1)
    said.opened(None)
    now += 40
    said.scored(80)
    assert capsys.readouterr().err == "0/1 files, 80 frames, 2.0 frames/s, 0:00 left\n"


def test_goes_on_without_words_where_nobody_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``score ... 2>&1 | tee log`` whose tee was killed: a broken pipe, and one at the end's flush, too."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        said = Console(quiet=False)
        said.say("one")
        said.error("two")
        said.close()


def test_goes_on_where_the_stream_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    Console(quiet=False).say("one")
