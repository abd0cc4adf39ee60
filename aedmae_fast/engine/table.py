"""The CSV of one clip: a line a frame."""

from __future__ import annotations

from typing import IO

from aedmae_fast.engine.results import ClipScores

COLUMNS = ("frame", "time_s", "score", "raw", "teacher_error", "discrepancy", "class_prob")


def write_csv(file: IO[str], scores: ClipScores) -> None:
    """Write the scores of a clip; nine digits tell any two float32 apart.

    ``class_prob`` is empty without a class head. With a stride a last column ``interpolated`` is 1 for the frames
    between the scored ones.
    """
    flagged = bool(scores.interpolated.any())
    print(*COLUMNS, *(["interpolated"] if flagged else []), sep=",", file=file)
    columns = (scores.time_s, scores.score, scores.raw, scores.teacher_error, scores.discrepancy, scores.class_prob)
    for frame, values in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        cells = [f"{values[0]:.6f}", *("" if v != v else f"{v:.9g}" for v in values[1:])]
        print(frame, *cells, *([int(scores.interpolated[frame])] if flagged else []), sep=",", file=file)
