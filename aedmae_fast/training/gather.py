"""What a run of the command learns from: which videos, decoded where, and what is cut out of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aedmae_fast.config import ModelConfig
from aedmae_fast.evaluation.layouts import read_dataset
from aedmae_fast.model.region import Region
from aedmae_fast.report.console import Console
from aedmae_fast.text import printable
from aedmae_fast.training.cache import Clips, listed_clips, load_clips, require_room
from aedmae_fast.training.data import TrainingFrames
from aedmae_fast.training.objects import cut_objects
from aedmae_fast.training.parallel import Place, barrier
from aedmae_fast.training.progress import Progress
from aedmae_fast.training.sample import Piece, count_frames, take_sample
from aedmae_fast.training.settings import TrainSettings
from aedmae_fast.training.synthetic import AnomalySource, ProceduralAnomalies
from aedmae_fast.training.ubnormal import UBnormalAnomalies, read_ubnormal


@dataclass(frozen=True)
class Gathering:
    """The steps from the command's options to training samples, each told on the console.

    Args:
        workers: threads that count and decode.
    """

    options: argparse.Namespace
    config: ModelConfig
    region: Region | None
    workers: int
    console: Console
    place: Place

    def decoded_before(self, fingerprint: str) -> Clips | None:
        """The clips that a run was started with, if they still lie in its folder."""
        if self._folder is None:
            return None
        try:
            clips = listed_clips(self._folder, self._size)
            if clips.fingerprint == fingerprint:
                return clips
            trouble = f"{self._folder}: expected the clips that the run was started with, found others"
        except ValueError as error:
            trouble = str(error)
        if self.place.first:
            self.console.error(f"{trouble}; taking them from {self.options.data} again")
        return None

    def paths(self) -> list[Path]:
        """The videos to learn from.

        Raises:
            ValueError: there are none.
        """
        found = read_dataset(self.options.data, self.options.layout)
        self._tell([(path, f"left out: {reason}") for path, reason in found.problems])
        if not found.train:
            raise ValueError(f"{self.options.data}: no training clips in it, only test clips")
        return found.train

    def ubnormal(self) -> UBnormalAnomalies | None:
        """UBnormal's anomalies, where they are asked for."""
        if self.options.anomalies is None:
            return None
        with Progress("cut UBnormal", "videos", None, self._quiet) as progress:
            return read_ubnormal(self.options.anomalies, self._size, progress.advance, self._inside)

    def clips(self, decoded: Clips | None, paths: list[Path]) -> Clips:
        """The videos, or a sample of them, decoded, unless they are. On disk the first process decodes for all."""
        try:
            if decoded is None and (self._folder is None or self.place.first):
                pieces = self._pieces(paths)
                with Progress("decode", "frames", None, self._quiet) as progress:
                    decoded = load_clips(pieces, self._size, self._folder, self.workers, progress.advance, self.region)
                self._tell(decoded.problems)
        finally:
            if self._folder is not None:  # processes may have found different things there
                barrier(self.place)
        if decoded is None:
            assert self._folder is not None
            decoded = listed_clips(self._folder, self._size)
        return decoded

    def frames(self, clips: Clips, ubnormal: UBnormalAnomalies | None, settings: TrainSettings) -> TrainingFrames:
        """Every frame as a sample, with a batch size that they can fill.

        Raises:
            ValueError: there are fewer than processes.
        """
        total = sum(map(len, clips.frames))
        if total < self.place.world:
            raise ValueError(
                f"{self.options.data}: {total} frames for {self.place.world} processes; start at most {total}"
            )
        self.console.say(f"  {total} frames of {len(clips.frames)} clips; looking for things that move")
        with Progress("cut", "clips", len(clips.frames), self._quiet) as progress:
            cutouts = cut_objects(clips.frames, settings.seed, progress.advance, self._inside)
        source: AnomalySource = ProceduralAnomalies(cutouts, self._inside)
        cut = f"{sum(map(len, cutouts.things))} moving things in {len(cutouts.things)} scenes"
        if ubnormal is not None:
            source = ubnormal
            cut += f"; anomalies: {len(ubnormal.things)} things of UBnormal"
        self.console.say(f"  {cut}")
        if settings.batch_size > total:
            settings = replace(settings, batch_size=total - total % self.place.world)
            self.console.say(f"  batch size {settings.batch_size}: there are no more frames")
        return TrainingFrames(clips.frames, cutouts, source, self.config, settings, self.region)

    def _pieces(self, paths: list[Path]) -> list[Piece]:
        """What to decode: the videos, or a sample of them."""
        pieces, asked = [Piece(path) for path in paths], self.options.frames
        if asked is None and self._folder is None:  # nothing depends on how many there are
            return pieces
        videos = []
        with (
            Progress("count", "videos", len(paths), self._quiet) as progress,
            ThreadPoolExecutor(self.workers) as pool,
        ):
            for video in pool.map(count_frames, paths):
                videos.append(video)
                progress.advance(1)
        total = sum(video.frames for video in videos)
        frames = min(total, asked or total)
        if asked is not None:
            pieces = take_sample(videos, asked)
        if frames < total:
            about = f"about {frames} of {total} frames: {len(pieces)} pieces of ten seconds or so (--frames)"
            self.console.say(f"  {about}")
        if self._folder is not None:
            require_room(self._folder, pieces, frames, self._size, self.region)
        return pieces

    def _tell(self, problems: Sequence[tuple[Path, str]]) -> None:
        for path, reason in problems if self.place.first else ():
            self.console.error(f"{printable(str(path))}: {reason}")

    @property
    def _size(self) -> tuple[int, int]:
        return self.config.height, self.config.width

    @property
    def _quiet(self) -> bool:
        return bool(self.options.quiet) or not self.place.first

    @property
    def _folder(self) -> Path | None:
        """Where decoded clips lie on disk; None: they are kept in memory."""
        return Path(self.options.out) / "cache" if self.options.cache == "disk" else None

    @property
    def _inside(self) -> NDArray[np.bool_] | None:
        return None if self.region is None else self.region.inside.numpy()
