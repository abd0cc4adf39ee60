"""``python -m aedmae_fast.score`` in a process of its own: on a terminal, interrupted, killed, hanging, a full disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from aedmae_fast.engine.job import JOURNAL
from aedmae_fast.interruption import STOPS
from aedmae_fast.model.checkpoint import save_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.score import INTERRUPTED, OK, SOME_NOT_OK
from tests.clips import write_clip


@pytest.fixture
def checkpoint(tiny_model: AedMae, tmp_path: Path) -> Path:
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def command(checkpoint: Path, folder: Path, out: Path) -> list[str]:
    arguments = ["--dir", folder, "--checkpoint", checkpoint, "--out", out, "--precision", "fp32"]
    return [sys.executable, "-m", "aedmae_fast.score", *map(str, arguments)]


def test_progress_bar_on_a_terminal(checkpoint: Path, tmp_path: Path) -> None:
    """Files, frames, frames/s and the time left, on one line that is redrawn."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_clip(folder / "0.mp4", frames=2000)  # long enough for the bar to be drawn on the way
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    with subprocess.Popen(command(checkpoint, folder, tmp_path / "out"), stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone when the process ends
            while part := os.read(screen, 4096):
                shown += part
    os.close(screen)
    assert process.returncode == OK
    lines = shown.decode().replace("\r", "\n").splitlines()
    assert any(re.search(r"\d+%.*\| \d+/2000 \[\d\d:\d\d<.*frames/s, files=0/1\]", line) for line in lines), lines


def hear_all() -> None:
    """In a process to be: whoever runs the tests may have turned a deaf ear, as ``nohup`` does."""
    for stop in (signal.SIGINT, signal.SIGHUP):
        signal.signal(stop, signal.SIG_DFL)


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_the_terminal_goes_away(checkpoint: Path, tmp_path: Path, device: str) -> None:
    """As when a connection breaks off: every process on it is told so, and there is nothing to write to any more."""
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    write_clip(folder / "0.mp4", frames=3000, size=(32, 32))
    screen, terminal = pty.openpty()

    def on_the_terminal() -> None:
        hear_all()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    usual = command(checkpoint, folder, out)
    with subprocess.Popen(
        [*usual, "--device", device, "--maps"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=on_the_terminal,
    ) as process:
        os.close(terminal)
        deadline = time.monotonic() + 120
        while not list(out.glob("*/0.npy")) and time.monotonic() < deadline:  # its first maps
            time.sleep(0.02)
        os.close(screen)
        assert process.wait(60) == INTERRUPTED
    (folder / "0.mp4").unlink()
    write_clip(folder / "0.mp4", frames=20)
    second = subprocess.run(usual, stderr=subprocess.PIPE, text=True, check=True)
    assert "were in hand when a run was killed" not in second.stderr


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
@pytest.mark.parametrize(
    ("how", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), *((stop, INTERRUPTED) for stop in (signal.SIGINT, *STOPS))],
)
def test_stopped_in_the_middle(checkpoint: Path, tmp_path: Path, how: signal.Signals, code: int, device: str) -> None:
    """What was finished is kept, what was in hand is scored again, the results are those of an undisturbed run."""
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    for i in range(3):
        write_clip(folder / f"{i}.mp4", frames=20)
    write_clip(folder / "3.mp4", frames=3000, size=(32, 32))
    script, held = tmp_path / "hostile.py", tmp_path / "held"
    script.write_text(SCRIPT)
    if device == "cpu,cpu":  # the large file is one process's, and could be finished before the other's small ones
        held.touch()
    first = [sys.executable, script, *command(checkpoint, folder, out)[3:], "--device", device, "--maps"]
    with subprocess.Popen(first, stderr=subprocess.PIPE, text=True, preexec_fn=hear_all) as process:  # held open by all
        deadline = time.monotonic() + 120
        journal = out / JOURNAL  # a file's line in it comes after its CSV
        while not (journal.exists() and journal.read_text().count('"status"') == 3) and time.monotonic() < deadline:
            time.sleep(0.02)
        held.unlink(missing_ok=True)
        while not list(out.glob("*/3.npy")) and time.monotonic() < deadline:  # its first maps
            time.sleep(0.02)
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert sorted(p.name for p in out.glob("*.csv")) == ["0.mp4.csv", "1.mp4.csv", "2.mp4.csv"]
    (folder / "3.mp4").unlink()
    write_clip(folder / "3.mp4", frames=20)
    again, undisturbed = ([*command(checkpoint, folder, to), "--maps"] for to in (out, tmp_path / "undisturbed"))
    second = subprocess.run(again, stderr=subprocess.PIPE, text=True, check=True)
    assert "3 of 4 are finished" in second.stderr
    assert ("were in hand when a run was killed" in second.stderr) == (how == signal.SIGKILL)
    subprocess.run(undisturbed, capture_output=True, check=True)
    for name in (f"{i}.mp4.{kind}" for i in range(4) for kind in ("csv", "npy")):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == []


SCRIPT = """
import os, signal, sys, time

from aedmae_fast.engine import feed, scorer
from aedmae_fast.score import main
from aedmae_fast.video.pulse import pulse

open_video = scorer.open_video
feed.HANGS = 2.0


def hostile(path, *rest):
    if path.name == "deadly.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name.startswith("hangs"):
        time.sleep(1000)
    while path.name == "3.mp4" and (path.parents[1] / "held").exists():
        pulse()
        time.sleep(0.02)
    return open_video(path, *rest)


scorer.open_video = hostile  # in processes that are started, too: they import this file

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def test_a_file_that_kills_does_so_once(checkpoint: Path, tmp_path: Path) -> None:
    """As a decoder's crash would. The next run takes it apart from the others, and so does every later one."""
    folder, out, script = tmp_path / "videos", tmp_path / "out", tmp_path / "hostile.py"
    folder.mkdir()
    script.write_text(SCRIPT)
    for name in ("a", "deadly", "z"):
        write_clip(folder / f"{name}.mp4", frames=8)
    usual = command(checkpoint, folder, out)
    runs = [
        subprocess.run([sys.executable, script, *usual[3:]], capture_output=True, text=True, check=False)
        for _ in range(3)
    ]
    assert [run.returncode for run in runs] == [-signal.SIGKILL, SOME_NOT_OK, SOME_NOT_OK]
    apart = "failed before, or were in hand when a run was killed: they come last, in a process of their own"
    assert [apart in run.stderr for run in runs] == [False, True, True]
    assert "2 of 3 are finished" in runs[2].stderr
    for run in runs[1:]:
        assert "deadly.mp4: failed: the process on cpu was killed by signal 9" in run.stderr
        assert "Traceback" not in run.stderr
    assert sorted(p.name for p in out.glob("*.csv")) == ["a.mp4.csv", "z.mp4.csv"]
    mended = subprocess.run(usual, capture_output=True, text=True, check=False)
    assert mended.returncode == OK
    assert "1 failed before" in mended.stderr
    undisturbed = [*command(checkpoint, folder, tmp_path / "undisturbed")]
    subprocess.run(undisturbed, capture_output=True, check=True)
    for name in ("a", "deadly", "z"):
        csv = f"{name}.mp4.csv"
        assert (out / csv).read_bytes() == (tmp_path / "undisturbed" / csv).read_bytes()


def test_a_file_that_hangs_is_given_up(checkpoint: Path, tmp_path: Path) -> None:
    """The others are scored, the process ends; the next run tries it again, apart from what is new."""
    folder, out, script = tmp_path / "videos", tmp_path / "out", tmp_path / "hostile.py"
    folder.mkdir()
    script.write_text(SCRIPT)
    for name in ("a", "hangs", "z"):
        write_clip(folder / f"{name}.mp4", frames=8)
    for _ in range(2):
        arguments = [sys.executable, script, *command(checkpoint, folder, out)[3:]]
        run = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
        assert run.returncode == SOME_NOT_OK
        assert (
            "hangs.mp4: failed: nothing read or decoded for 2 seconds: the decoder or the disk hangs; given up"
            in run.stderr
        )
        assert "Traceback" not in run.stderr
        assert sorted(p.name for p in out.glob("*.csv")) == ["a.mp4.csv", "z.mp4.csv"]
    assert "2 of 3 are finished" in run.stderr


def test_a_disk_that_does_not_answer_several_processes_ends_the_run(checkpoint: Path, tmp_path: Path) -> None:
    """The first file that each one has in hand is given up, as any that hangs. No other fails: all stay to be done."""
    folder, out, script = tmp_path / "videos", tmp_path / "out", tmp_path / "hostile.py"
    folder.mkdir()
    script.write_text(SCRIPT)
    for i in range(6):
        write_clip(folder / f"hangs{i}.mp4", frames=8)
    arguments = [*command(checkpoint, folder, out)[3:], "--device", "cpu,cpu", "--workers", "1"]
    run = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == SOME_NOT_OK
    assert "error: 2 files in a row gave nothing for 2 seconds: the disk or the network does not answer" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stderr.count(": failed: ") <= 2
    assert (out / JOURNAL).read_text().count('"status": "failed"') <= 2


@pytest.mark.parametrize(("what", "limit"), [("scores", 12_000), ("maps", 60_000)])  # bytes a file
def test_no_room_left(checkpoint: Path, tmp_path: Path, what: str, limit: int) -> None:
    """The operating system refuses to write more: the small file's results stay, the large one fails by name.

    Its 300 frames take 27 kB of scores, and 4 kB each of maps.
    """
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    write_clip(folder / "large.mp4", frames=300, size=(32, 32))
    write_clip(folder / "small.mp4", frames=5)
    maps = what == "maps"
    result = subprocess.run(
        [*command(checkpoint, folder, out), *(["--maps"] if maps else [])],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == SOME_NOT_OK
    assert "Traceback" not in result.stderr
    assert f"large.mp4: failed: cannot write the {what}: File too large" in result.stderr
    left = ["manifest.json", "small.mp4.csv", *(["small.mp4.npy"] if maps else [])]
    assert sorted(p.name for p in out.iterdir() if p.name != ".lock") == left


@pytest.mark.parametrize(("stdout", "code"), [("pipe", OK), ("/dev/full", SOME_NOT_OK)])
def test_json_that_nobody_reads_costs_no_results(checkpoint: Path, tmp_path: Path, stdout: str, code: int) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    write_clip(folder / "0.mp4", frames=4)
    if stdout == "pipe":
        reader, target = os.pipe()
        os.close(reader)
    else:
        target = os.open(stdout, os.O_WRONLY)
    done = subprocess.run(
        [*command(checkpoint, folder, out), "--json", "--report"], stdout=target, stderr=subprocess.PIPE, text=True
    )
    os.close(target)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert ("cannot write the JSON" in done.stderr) == (code != OK)
    assert (out / "manifest.json").is_file()
    assert (out / "report.html").is_file()
    assert not (out / JOURNAL).exists()
