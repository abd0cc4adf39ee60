"""What the decoders have in common: a video is read once, from front to back, and then it is known how that ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from aedmae_fast.video import Chunk, Outcome, VideoInfo

__all__ = ["ReadOnce"]


class ReadOnce(ABC):
    """A :class:`aedmae_fast.video.Video` that is iterated once. Decoders give the chunks, and set the outcome."""

    info: VideoInfo
    _started = _closed = False
    _outcome: Outcome | None = None

    def __iter__(self) -> Iterator[Chunk]:
        """Every frame in display order.

        Raises:
            RuntimeError: The video was iterated before, or is closed.
            VideoError: The frames have a pixel format, e.g. 4-bit RGB, that nothing here can convert.
        """
        if self._started or self._closed:
            raise RuntimeError(f"{self.info.path}: a video is read once; open it again to read it again")
        self._started = True
        return self._chunks()

    @property
    def outcome(self) -> Outcome:
        """How reading ended. Raises RuntimeError before the last frame was taken."""
        if self._outcome is None:
            raise RuntimeError(f"{self.info.path}: the outcome is known only once every frame was taken")
        return self._outcome

    def close(self) -> None:
        """Stop reading after the chunk at hand, at any time and any number of times. Chunks handed out stay valid."""
        self._closed = True

    @abstractmethod
    def _chunks(self) -> Iterator[Chunk]:
        """Up to :meth:`close`, or to the end: then the outcome is set."""
