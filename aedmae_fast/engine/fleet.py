"""Several devices as one scorer: a process a device, files dealt out by size, results in one place.

Each process asks for its next file when its decoders are ready for one, and gets the largest that is left: so they end
at about the same time. They write nothing: scores and maps come back over a pipe, to the process that keeps the
manifest. What a process had in hand when it died is scored once more, each file in a process of its own, which is
started in the dead one's place: so a file that kills takes no other with it, and it fails when it has killed twice.
Ctrl-C is the first process's matter, and the others end with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from aedmae_fast.engine import choose
from aedmae_fast.engine.choose import Choice, ChoiceError
from aedmae_fast.engine.entry import fingerprint
from aedmae_fast.engine.feed import NoAnswerError
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.scorer import OnMap, OnOpened, OnScored, OnTaken, Scorer
from aedmae_fast.model.checkpoint import load_model, weights_hash
from aedmae_fast.model.network import AedMae
from aedmae_fast.model.region import Region

__all__ = ["Fleet"]

TRIES = 2  # processes that may die with a file in hand


class Fleet:
    """Scores videos on several devices at a time; to a job what one :class:`Scorer` is.

    Args:
        checkpoint: as :func:`aedmae_fast.load_model` takes it; every process loads it.
        model: what it holds now. A process that finds other weights there, or another region, scores nothing.
        devices: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, all of one kind; one that comes twice gets two processes.
        settings: as for :class:`Scorer`, but ``device``. Threads and workers that are ``auto`` share the cores.

    Raises:
        ChoiceError: devices of several kinds, a setting that cannot be had on one of them, or ``auto`` for a precision
            that is different on them.
    """

    def __init__(self, checkpoint: str, model: AedMae, devices: Sequence[str], **settings: Any) -> None:
        if len({device.split(":")[0] for device in devices}) > 1:  # their scores differ in the last bits
            raise ChoiceError(f"device: expected several of one kind, found {','.join(devices)!r}")
        self.config = model.config
        self._checkpoint = checkpoint
        self._expected = _fingerprints(model, choose.choose_region(settings.get("region"), model)[0])
        self._settings: list[dict[str, Any]] = []  # of each process
        for device in devices:
            wishes = {name: wish for name, wish in settings.items() if name not in ("smoothing", "region")}
            self.preset, self.choices = choose.choose_all(model.config, **wishes, device=device)
            if settings.get("threads", "auto") == "auto":
                threads = max(1, int(self.choices["threads"].value) // len(devices))
                self.choices["threads"] = Choice(str(threads), "shared by the processes")
            self.choices["workers"] = choose.choose_workers(
                settings.get("workers", "auto"), device, settings.get("decoder", "auto"), len(devices)
            )
            self.choices["batch size"] = choose.choose_batch_size(
                settings.get("batch_size", "auto"), self.choices["device"].value, int(self.choices["threads"].value)
            )
            chosen = {name: self.choices[name].value for name in ("device", "precision", "threads", "workers")}
            self._settings.append({**settings, **chosen})
        precisions = {of_process["precision"]: of_process["device"] for of_process in self._settings}
        if len(precisions) > 1:
            raise ChoiceError(f"precision: 'auto' is different on the devices ({precisions}); ask for one")
        chosen_devices = ",".join(of_process["device"] for of_process in self._settings)
        self.choices["device"] = Choice(chosen_devices, f"{len(devices)} processes, a device each")

    def score_unordered(
        self,
        paths: Sequence[str | Path],
        on_opened: OnOpened | None = None,
        on_scored: OnScored | None = None,
        on_map: OnMap | None = None,
        on_taken: OnTaken | None = None,
    ) -> Iterator[tuple[int, ClipScores]]:
        """As :meth:`Scorer.score_unordered`; a file that has no process left to score it is ``failed``.

        A file that is scored once more has its maps once more, from the first one on.

        Raises:
            NoAnswerError: as :meth:`Scorer.score_many`, in one of the processes.
        """
        maps = on_map is not None
        todo = deque(sorted(range(len(paths)), key=lambda i: _size(Path(paths[i])), reverse=True))
        suspects: deque[int] = deque()  # in hand where a process died
        deaths: Counter[int] = Counter()
        trouble = ""
        crew: dict[Connection, _Worker] = {}
        try:
            for settings in self._settings[: len(todo)]:
                worker = _Worker(self._checkpoint, self._expected, settings, maps, todo)
                crew[worker.pipe] = worker
            while crew:
                for pipe in wait(list(crew)):
                    assert isinstance(pipe, Connection)
                    worker = crew[pipe]
                    try:
                        kind, *content = pipe.recv()
                    except (EOFError, OSError):
                        del crew[pipe]
                        trouble = worker.end() or trouble
                        alone = worker.source is not todo
                        useful = bool(worker.in_hand) or (alone and not worker.source)
                        if alone:  # the file that it died without having taken
                            suspects.extend(worker.source)
                        for index in worker.in_hand:
                            deaths[index] += 1
                            if deaths[index] < TRIES:
                                suspects.append(index)
                            else:
                                yield index, ClipScores.failed(Path(paths[index]), trouble)
                        if useful and (suspects or todo):  # one that dies of no file would do so again
                            source = deque([suspects.popleft()]) if suspects else todo
                            worker = _Worker(self._checkpoint, self._expected, worker.settings, maps, source)
                            crew[worker.pipe] = worker
                        continue
                    if kind == "next":
                        taken = worker.source.popleft() if worker.source else None
                        if on_taken and taken is not None:
                            on_taken(taken)
                        worker.give(taken, paths)
                    elif kind == "opened" and on_opened:
                        on_opened(*content)
                    elif kind == "scored" and on_scored:
                        on_scored(*content)
                    elif kind == "map" and on_map:
                        on_map(*content)
                    elif kind == "finished":
                        worker.in_hand.remove(content[0])
                        yield content[0], content[1]
                    elif kind == "no answer":
                        raise NoAnswerError(*content)
                    elif kind == "trouble":
                        (worker.trouble,) = content
            for index in (*todo, *suspects):
                yield index, ClipScores.failed(Path(paths[index]), trouble)
        finally:
            for worker in crew.values():
                worker.process.kill()
            for worker in crew.values():
                worker.process.join()


@dataclass
class _Worker:
    """One process, seen from the first one."""

    checkpoint: str
    expected: dict[str, str]  # fingerprints of what it will read
    settings: dict[str, Any]
    maps: bool  # wanted too
    source: deque[int]  # what it is to take: what is left for all, or one file by itself
    in_hand: list[int] = field(default_factory=list)  # files that were given to it and have not come back
    trouble: str = ""  # what it said before it ended
    pipe: Connection = field(init=False)
    process: SpawnProcess = field(init=False)

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = theirs, self.checkpoint, self.expected, self.settings, self.maps
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        # A terminal's Ctrl-C goes to every process, and so does its end; what is blocked here stays so in the new one.
        resource_tracker.ensure_running()  # or the first start would do so, and unblock it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that the pipe ends where the process does

    def give(self, index: int | None, paths: Sequence[str | Path]) -> None:
        with contextlib.suppress(OSError):  # it is dead; the end of its pipe tells so
            self.pipe.send(None if index is None else (index, Path(paths[index])))
        if index is not None:
            self.in_hand.append(index)

    def end(self) -> str:
        """Once its pipe has ended: what it died of; empty where it was done."""
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode
        if not self.in_hand and not self.trouble and code == 0:
            return ""
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return self.trouble or f"the process on {self.settings['device']} {how}"


def _work(pipe: Connection, checkpoint: str, expected: dict[str, str], settings: dict[str, Any], maps: bool) -> None:
    """A process: a scorer that asks for its files."""
    sending = threading.Lock()  # decoders ask, the loop reports
    given: list[int] = []

    def send(*message: Any) -> None:
        with sending:
            pipe.send(message)

    def paths() -> Iterator[Path]:
        while True:
            send("next")
            if (answer := pipe.recv()) is None:
                return
            given.append(answer[0])
            yield answer[1]

    try:
        model = load_model(checkpoint)
        scorer = Scorer(model, **settings)
        for name, found in _fingerprints(model, scorer.region).items():
            if found != expected[name]:
                file = settings.get(name) or checkpoint
                raise ValueError(f"{name}: {file} has changed since this run began; put it back, and run again")
        results = scorer.score_unordered(
            paths(),
            on_opened=lambda i, info: send("opened", given[i], info),
            on_scored=lambda frames: send("scored", frames),
            on_map=(lambda i, found: send("map", given[i], found)) if maps else None,
        )
        for i, scores in results:
            send("finished", given[i], scores)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the first process is gone: nobody wants the rest
        return
    except NoAnswerError as error:
        send("no answer", str(error))
    except Exception as error:
        send("trouble", f"{type(error).__name__} on {settings['device']}: {error}".splitlines()[0])


def _fingerprints(model: AedMae, region: Region | None) -> dict[str, str]:
    """Of what every process reads from files of its own accord, by its setting."""
    return {"checkpoint": weights_hash(model), "region": "none" if region is None else region.fingerprint()}


def _size(path: Path) -> int:
    """Bytes; 0 where it cannot be read."""
    found = fingerprint(path)
    return int(found["size"]) if found else 0
