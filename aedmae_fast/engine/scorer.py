"""The one streaming loop: events of the feed in, scored clips out, batches filled across clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aedmae_fast.config import ScoringPreset
from aedmae_fast.engine import choose
from aedmae_fast.engine.clip import ClipState
from aedmae_fast.engine.feed import BLOCK, Block, Feed, Opened, Source
from aedmae_fast.engine.maps import ClipMaps, FrameMap
from aedmae_fast.engine.memory import FramesInMemory
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.ring import REACH, Window
from aedmae_fast.engine.runner import Batch, Computed, Runner
from aedmae_fast.engine.stream import FrameStream
from aedmae_fast.engine.streams import on_stream
from aedmae_fast.model.checkpoint import load_model
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops import native
from aedmae_fast.video import Decoder, VideoInfo, open_video

Windows = list[tuple[int, Window]]  # with each window, the index of its clip
OnTaken = Callable[[int], None]
OnOpened = Callable[[int, VideoInfo], None]
OnScored = Callable[[int], None]
OnMap = Callable[[int, FrameMap], None]
Step = tuple[int, FrameMap | ClipState]  # with the index of its clip: a map, or in the end the clip itself


class Scorer:
    """Scores videos with one network, one preset, on one device.

    A frame's score depends on its window, the weights and the settings that ``choices`` lists as preset, device and
    precision; never on batch size, workers, or what else is scored.

    Args:
        model: a network in float32, as :func:`aedmae_fast.load_model` returns it.
        preset: ``auto``, a name in :data:`aedmae_fast.config.PRESETS`, or a preset of your own.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16``; for the linear layers ``int8`` on a CPU, ``fp8`` on a GPU.
        batch_size: frames computed per step, or ``auto``.
        threads: on a CPU, those that compute, each its own frames, or ``auto``. With the device a CPU, torch is set
            to one thread an operation, in this thread and in all that have not used torch before. Where this and
            ``batch_size`` are ``auto``, what is fastest is measured, once on a machine (engine/calibrate.py).
        workers: decoder threads, or ``auto``.
        decoder: of files: ``auto``, ``pyav``, ``dali`` (GPU), ``nvdec`` (GPU).
        stride: score every N-th frame, on its true neighbours; the frames between are interpolated.
        region: image file, white where to look and black where not (model/region.py); by default the network's own, if
            it was trained with one, else the whole picture.
        smoothing: False leaves out what follows the raw score (the temporal Gaussian, the stretch to [0, 1]).

    Attributes:
        config: of the network.
        preset: the one that was chosen.
        choices: by its name, what each setting has become and why.
        region: the one in use; None: the whole picture.
        runner: what computes; its ``device`` is where.
        stride, smoothing: as given.

    Raises:
        ChoiceError: a choice that cannot be had here (a ValueError).
        ValueError, OSError: ``region`` is no such image, or cannot be read.
        ImportError: the compiled CPU kernels were never built.
    """

    def __init__(
        self,
        model: AedMae,
        *,
        preset: str | ScoringPreset = "auto",
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | str = "auto",
        threads: int | str = "auto",
        workers: int | str = "auto",
        decoder: Decoder = "auto",
        stride: int = 1,
        smoothing: bool = True,
        region: str | Path | None = None,
    ) -> None:
        native.cpu()  # where the kernels were never built: one error here, not one for every file
        self.config = model.config
        self.preset, self.choices = choose.choose_all(
            model.config,
            preset=preset,
            device=device,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            workers=workers,
            decoder=decoder,
            stride=stride,
        )
        if self.choices["device"].value == "cpu" and threads == batch_size == "auto":
            self.choices |= choose.choose_way(model.config, self.choices["precision"].value)
        chosen = {name: choice.value for name, choice in self.choices.items()}
        self.stride, self.smoothing = stride, smoothing
        self.region, of_region = choose.choose_region(region, model)
        self.choices |= of_region
        self._decoder: Decoder = decoder
        self._batch_size, self._workers = int(chosen["batch size"]), int(chosen["workers"])
        threads_in_use = int(chosen["threads"])
        self.runner = Runner(model, self.preset, chosen["device"], chosen["precision"], threads_in_use, self.region)

    @classmethod
    def from_pretrained(cls, source: str | Path, **settings: object) -> Scorer:
        """Load a checkpoint and build a scorer; ``settings`` as for the class.

        Args:
            source: see :func:`aedmae_fast.load_model`.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ChoiceError: a setting cannot be had here.
        """
        return cls(load_model(source), **settings)  # type: ignore[arg-type]

    def score(self, path: str | Path) -> ClipScores:
        """Score one video file or folder of frames; its ``status`` tells whether it could be read."""
        return next(self.score_many([path]))

    def score_many(self, paths: Iterable[str | Path]) -> Iterator[ClipScores]:
        """Score many, decoded ahead and batched together; yields in the order of ``paths``.

        Raises:
            TypeError: at once, for one path: :meth:`score` takes it.
            NoAnswerError: one file after the other gives nothing for ten minutes (an OSError, of engine/feed.py).
        """
        return _in_order(self.score_unordered(paths))

    def score_unordered(
        self,
        paths: Iterable[str | Path],
        on_opened: OnOpened | None = None,
        on_scored: OnScored | None = None,
        on_map: OnMap | None = None,
        on_taken: OnTaken | None = None,
    ) -> Iterator[tuple[int, ClipScores]]:
        """Score many; yields (index into ``paths``, scores) as soon as a clip is complete.

        Args:
            on_opened: called with a clip's index and its :class:`VideoInfo` when its decoding starts.
            on_scored: called with the number of frames after each batch.
            on_map: called with a clip's index and each of its maps, as :meth:`maps` yields them: in order, the last
                before its scores are yielded.
            on_taken: called with a clip's index before its file is touched, in a decoder's thread, one at a time.

        Raises:
            TypeError: as :meth:`score_many`.
        """
        if isinstance(paths, (str, Path)):  # a string would be taken letter by letter
            raise TypeError(f"paths: expected several, found the one path {str(paths)!r}; score() takes one")
        listed: dict[int, Path] = {}

        def sources() -> Iterator[Source]:
            for index, path in enumerate(paths):
                listed[index] = Path(path)
                if on_taken:
                    on_taken(index)
                yield self._source(listed[index])

        def results() -> Iterator[tuple[int, ClipScores]]:
            for index, found in self._run(sources(), on_opened, on_scored, maps=on_map is not None):
                if isinstance(found, ClipState):
                    yield index, found.result(listed.pop(index))
                elif on_map:
                    on_map(index, found)

        return results()

    def maps(self, path: str | Path) -> ClipMaps:
        """The anomaly maps of one video file or folder of frames: of each frame what its raw score is pooled from.

        They come as they are computed (:class:`FrameMap`), in bounded memory; at the end the clip's scores are there.
        """
        return ClipMaps(self._maps(self._source(Path(path)), Path(path)))

    def score_frames(self, frames: NDArray[np.uint8] | Tensor, *, fps: float = 25.0, order: str = "bgr") -> ClipScores:
        """Score a clip that is in memory.

        Args:
            frames: uint8 [T, H, W, 3], T >= 0, any size; resized to the model's.
            fps: frames per second, more than 0; for ``time_s`` only.
            order: ``bgr`` (OpenCV) or ``rgb`` (torchvision, decord, Pillow).

        Raises:
            TypeError: ``frames`` is not uint8.
            ValueError: a shape other than [T, H, W, 3], an ``fps`` that is no rate, or an unknown ``order``.
        """
        video = FramesInMemory(frames, fps, order)
        ((_, clip),) = self._run([lambda: video])
        assert isinstance(clip, ClipState)
        return clip.result(None)

    def maps_of_frames(self, frames: NDArray[np.uint8] | Tensor, *, fps: float = 25.0, order: str = "bgr") -> ClipMaps:
        """The anomaly maps of a clip that is in memory: :meth:`maps`, of what :meth:`score_frames` takes.

        Raises:
            TypeError, ValueError: as :meth:`score_frames`.
        """
        video = FramesInMemory(frames, fps, order)
        return ClipMaps(self._maps(lambda: video, None))

    def stream(self, *, fps: float = 25.0, order: str = "bgr") -> FrameStream:
        """Score frames as they come: push one, get those that are due. See :class:`FrameStream`.

        Raises:
            ChoiceError: the preset stretches whole clips to [0, 1], which a stream cannot, or a stride is set.
            ValueError: ``fps`` is no rate.
        """
        if self.stride != 1:
            raise choose.ChoiceError(f"stride: a stream scores every frame, found stride={self.stride}")
        if self.smoothing and self.preset.min_max:
            raise choose.ChoiceError(
                f"preset: {self.preset.name!r} stretches whole clips to [0, 1], which a stream cannot;"
                " use smoothing=False"
            )
        return FrameStream(self.runner, self.config, self.preset, self.smoothing, fps, order, self.region)

    def _maps(self, source: Source, path: Path | None) -> Generator[FrameMap, None, ClipScores]:
        clip: ClipState | None = None
        for _, found in self._run([source], maps=True):
            if isinstance(found, ClipState):
                clip = found
            else:
                yield found
        assert clip is not None
        return clip.result(path)

    def _run(
        self,
        sources: Iterable[Source],
        on_opened: OnOpened | None = None,
        on_scored: OnScored | None = None,
        maps: bool = False,
    ) -> Generator[Step, None, None]:
        """The loop on the runner's stream: there it takes what the decoders made."""
        return on_stream(self.runner.stream, self._loop(sources, on_opened, on_scored, maps))

    def _loop(
        self, sources: Iterable[Source], on_opened: OnOpened | None, on_scored: OnScored | None, maps: bool
    ) -> Generator[Step, None, None]:
        clips: dict[int, ClipState] = {}
        pending: deque[tuple[int, Window]] = deque()  # ready to be computed
        in_flight: deque[tuple[Windows, Windows, Callable[[], Computed]]] = deque()  # windows of frames, and of maps
        events = iter(self._feed(sources, self._workers))
        session = self.runner.session(*self._room(maps))

        def launch(windows: Windows, due: Windows) -> None:
            map_rows: list[int] = []
            for index, window in windows:
                rows, complete = clips[index].launch(window.frame)
                map_rows.extend(rows)
                due.extend((index, of_maps) for of_maps in complete)
            batch = Batch([window for _, window in windows], map_rows, [window for _, window in due])
            in_flight.append((windows, due, session.submit(batch, means=maps)))

        def compute(least: int) -> Iterator[Step]:
            while len(pending) >= least and pending:
                launch([pending.popleft() for _ in range(min(self._batch_size, len(pending)))], [])
                yield from settle(leave=1)  # one batch computes while the next one is filled

        def settle(leave: int) -> Iterator[Step]:
            while len(in_flight) > leave:
                windows, due, wait = in_flight.popleft()
                terms, maxima, means = wait()
                for (index, window), of_frame in zip(windows, terms, strict=True):
                    clips[index].scored(window, of_frame)
                for i, ((index, window), maximum) in enumerate(zip(due, maxima, strict=True)):
                    found = clips[index].smoothed(window, maximum, None if means is None else means[i])
                    if found is not None:
                        yield index, found
                if on_scored and windows:
                    on_scored(len(windows))
                yield from finished({index for index, _ in (*windows, *due)})

        def finished(indices: Iterable[int]) -> Iterator[Step]:
            for index in sorted(indices):
                if clips[index].complete:
                    yield index, clips.pop(index)

        def take(index: int, block: Block) -> Iterator[Step]:
            for start in range(0, len(block.frames), BLOCK):
                frames = block.frames[start : start + BLOCK]
                if session.frames.free < len(frames):
                    yield from compute(1)
                    yield from settle(leave=0)
                windows = clips[index].push(frames, block.times[start : start + BLOCK])
                pending.extend((index, window) for window in windows)
                yield from compute(self._batch_size)

        try:
            for event in events:
                index = event.clip
                if index not in clips:
                    clips[index] = ClipState(self.preset, self.stride, self.smoothing, session, maps)
                clip = clips[index]
                if isinstance(event, Opened):
                    clip.info = event.info
                    if on_opened:
                        on_opened(index, event.info)
                elif isinstance(event, Block):
                    yield from take(index, event)
                else:
                    windows, due = clip.end(event.outcome)
                    pending.extend((index, window) for window in windows)
                    if due:
                        launch([], [(index, window) for window in due])
                    yield from finished([index])
                    yield from compute(self._batch_size)
            yield from compute(1)
            yield from settle(leave=0)
        finally:
            events.close()
            session.close()

    def feed(self, paths: Iterable[str | Path], sessions: int) -> Feed:
        """Decoding alone, as the scorer does it but of ``sessions`` videos at a time; what benchmarks measure."""
        return self._feed((self._source(Path(path)) for path in paths), sessions)

    def _source(self, path: Path) -> Source:
        return partial(open_video, path, self._decoder, str(self.runner.device))

    def _feed(self, sources: Iterable[Source], workers: int) -> Feed:
        size = self.config.height, self.config.width
        return Feed(sources, size, workers, device=self.runner.device, region=self.region)

    def _room(self, maps: bool) -> tuple[int, int]:
        """Frames and maps that the loop has in use at most; no maps where nobody looks at them, the preset included.

        Clips that are open: one a decoder, each with the frames and maps that its next windows see. Windows that wait,
        and two batches that are computed: each with its map, and with a frame of its own, or with three where the
        stride keeps windows from sharing them. Should frames not suffice (many short clips), batches are cut short.
        """
        batch, seen = self._batch_size, min(self.stride, 3)
        frames = 2 * REACH * self._workers + 3 * batch * seen + BLOCK
        mapped = maps or self.preset.pool == "max"
        return frames, (self.preset.map_filter[0] - 1) * self._workers + 2 * batch if mapped else 0


def _in_order(results: Iterable[tuple[int, ClipScores]]) -> Iterator[ClipScores]:
    waiting: dict[int, ClipScores] = {}
    due = 0
    for index, result in results:
        waiting[index] = result
        while due in waiting:
            yield waiting.pop(due)
            due += 1
