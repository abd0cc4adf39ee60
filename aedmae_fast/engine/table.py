"""The CSV of one clip: a line a frame."""

from __future__ import annotations

from typing import IO

from aedmae_fast.engine.results import ClipScores

COLUMNS = ("frame", "time_s", "score", "raw", "teacher_error", "discrepancy", "class_prob", "x", "y")


def write_csv(file: IO[str], scores: ClipScores) -> None:
    """Write the scores of a clip; nine digits tell any two float32 apart.

    ``class_prob`` is empty without a class head, ``x`` and ``y`` (pixels of the video as displayed) where the preset
    pools by the mean. With a stride a last column ``interpolated`` is 1 for the frames between the scored ones.
    """
    flagged = bool(scores.interpolated.any())
    print(*COLUMNS, *(["interpolated"] if flagged else []), sep=",", file=file)
    columns = (scores.time_s, scores.score, scores.raw, scores.teacher_error, scores.discrepancy, scores.class_prob)
    places = (scores.x, scores.y)
    for frame, (time, *values) in enumerate(zip(*(c.tolist() for c in (*columns, *places)), strict=True)):
        cells = [f"{time:.6f}", *("" if v != v else f"{v:.9g}" for v in values[:-2])]
        cells += ["" if v != v else f"{v:.0f}" for v in values[-2:]]
        print(frame, *cells, *([int(scores.interpolated[frame])] if flagged else []), sep=",", file=file)
