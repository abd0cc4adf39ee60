"""What a run leaves for people: a CSV row per epoch, loss curves, TensorBoard, pictures of samples.

CSV and curves are written anew from the whole history each time, so that a resumed run has no gap and no repetition.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from aedmae_fast.files import replacing, replacing_picture
from aedmae_fast.model.network import AedMae
from aedmae_fast.ops.patches import unpatchify
from aedmae_fast.report.figure import new_figure, save_figure
from aedmae_fast.training.data import Batch
from aedmae_fast.training.things import Bytes

COLUMNS = ("phase", "epoch", "lr", "total", "reconstruction", "class", "seconds", "frames_per_second")

History = Sequence[dict[str, Any]]


class Journal:
    """Writes into a run's folder.

    ``notes`` tells what is left out because a package of an extra is missing.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._plots = find_spec("matplotlib") is not None
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run / "tensorboard"))
        missing = {"loss.png": ("matplotlib", self._plots), "tensorboard/": ("tensorboard", self._board is not None)}
        self.notes = [
            f"no {what}: {package} is not installed" for what, (package, there) in missing.items() if not there
        ]

    def draw(self, history: History) -> None:
        """The log and the curves of all rows so far."""
        write_csv(history, self._run / "log.csv")
        if self._plots:
            plot_losses(history, self._run / "loss.png")

    def epoch(self, history: History) -> None:
        """After each epoch, with all rows so far."""
        self.draw(history)
        if self._board is not None:
            row = history[-1]
            for name, value in row.items():
                if name not in ("phase", "epoch"):
                    self._board.add_scalar(f"{row['phase']}/{name}", value, row["epoch"])

    def pictures(self, model: AedMae, batch: Batch, history: History) -> Path:
        """A picture of what the network makes of the samples of a batch."""
        folder = self._run / "samples"
        folder.mkdir(exist_ok=True)
        path = folder / f"{len(history):04}-{history[-1]['phase']}-{history[-1]['epoch']:04}.png"
        image = draw_samples(model, batch)
        with replacing_picture(path) as part:
            Image.fromarray(image[..., ::-1]).save(part)
        if self._board is not None:
            self._board.add_image("samples", image[..., ::-1].copy(), len(history), dataformats="HWC")
        return path

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def write_csv(history: History, path: Path) -> None:
    """A row per epoch; what a phase does not have is left empty.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(history)


def plot_losses(history: History, path: Path) -> None:
    """Total loss over epochs, a panel for each phase."""
    phases = list(dict.fromkeys(row["phase"] for row in history))
    figure = new_figure(5 * len(phases), 3.2)
    for axes, phase in zip(figure.subplots(1, len(phases), squeeze=False)[0], phases, strict=True):
        rows = [row for row in history if row["phase"] == phase]
        for name in ("total", "reconstruction", "class"):
            if name in rows[0]:
                axes.plot([row["epoch"] for row in rows], [row[name] for row in rows], label=name)
        axes.set(title=phase, xlabel="epoch", ylabel="loss", yscale="log")
        axes.legend()
    save_figure(figure, path)


@torch.no_grad()
def draw_samples(model: AedMae, batch: Batch) -> Bytes:
    """One row per frame: input, target, teacher, student, error, gap, predicted map, true map; uint8 [h, w, 3] BGR."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    output = model(batch.windows, batch.ids_shuffle)
    for module in training:
        module.training = True
    size = (model.config.height, model.config.width)
    teacher, student = (
        unpatchify((tokens.float() * 127.5 + 127.5).clamp(0, 255), size, model.config.patch)
        for tokens in (output.teacher, output.student)
    )  # [B, H, W, 4]
    target, true_map = batch.target.float(), batch.anomaly_map.float()
    panels = [
        batch.windows[:, 1].float(),
        target,
        teacher[..., :3],
        student[..., :3],
        _grey(2 * (teacher[..., :3] - target).abs().amax(-1)),
        _grey(2 * (teacher - student).abs().amax(-1)),
        _grey(teacher[..., 3]),
        _grey(true_map),
    ]
    rows = torch.cat([panel.clamp(0, 255).byte() for panel in panels], dim=2)  # [B, H, 8*W, 3]
    return rows.flatten(0, 1).cpu().numpy()


def _grey(image: torch.Tensor) -> torch.Tensor:
    return image[..., None].expand(-1, -1, -1, 3)
