"""The two phases: what each trains, in which mode the rest of the network is, and its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from aedmae_fast.model.network import AedMae, Output
from aedmae_fast.ops import patch_weights
from aedmae_fast.training.data import Batch
from aedmae_fast.training.losses import class_loss, patch_target, student_loss, teacher_loss, weighted_student_loss
from aedmae_fast.training.settings import TrainSettings


class Losses(dict[str, Tensor]):
    """Named parts of a loss, as mean over the frames; ``total`` is what is minimised."""


class Phase(Protocol):
    """One stage of the schedule."""

    @property
    def name(self) -> str: ...

    @property
    def epochs(self) -> int: ...

    @property
    def student(self) -> bool:
        """Whether its losses need the student's prediction."""
        ...

    def prepare(self, model: AedMae) -> list[nn.Parameter]:
        """Freeze what this phase does not train, set each module's mode; returns the parameters to train."""
        ...

    def losses(self, output: Output, batch: Batch) -> Losses: ...


@dataclass(frozen=True)
class TeacherPhase:
    """Everything but the student: reconstruction weighted by motion (Eq. 3), and the class head (Eq. 5)."""

    settings: TrainSettings
    patch: int
    name: str = "teacher"
    student: bool = False

    @property
    def epochs(self) -> int:
        return self.settings.teacher_epochs

    def prepare(self, model: AedMae) -> list[nn.Parameter]:
        model.train().requires_grad_(True)
        for module in student_modules(model):
            module.eval().requires_grad_(False)
        if model.class_head is not None:
            model.class_head.requires_grad_(self.settings.class_weight > 0)
        return [p for p in model.parameters() if p.requires_grad]

    def losses(self, output: Output, batch: Batch) -> Losses:
        target = patch_target(batch.target, batch.anomaly_map, self.patch)
        weights = token_weights(batch, self.patch, self.settings.motion_weights)
        reconstruction = teacher_loss(output.teacher.float(), target, weights) / len(target)
        losses = Losses(reconstruction=reconstruction, total=reconstruction)
        if output.class_logit is not None and self.settings.class_weight > 0:
            losses["class"] = class_loss(output.class_logit.float(), batch.abnormal)
            losses["total"] = reconstruction + self.settings.class_weight * losses["class"]
        return losses


@dataclass(frozen=True)
class StudentPhase:
    """The student's block, norm and head only (Eq. 4); the rest is frozen, BatchNorm statistics and dropout too."""

    settings: TrainSettings
    patch: int
    kept: int
    name: str = "student"
    student: bool = True

    @property
    def epochs(self) -> int:
        return self.settings.student_epochs

    def prepare(self, model: AedMae) -> list[nn.Parameter]:
        model.eval().requires_grad_(False)
        for module in student_modules(model):
            module.train().requires_grad_(True)
        return model.student_parameters()

    def losses(self, output: Output, batch: Batch) -> Losses:
        assert output.student is not None
        student, teacher = output.student.float(), output.teacher.float()
        if self.settings.distillation == "release":
            return Losses(total=student_loss(student, teacher, batch.ids_shuffle, self.kept))
        weights = token_weights(batch, self.patch, self.settings.motion_weights)
        return Losses(total=weighted_student_loss(student, teacher, weights) / len(student))


def student_modules(model: AedMae) -> tuple[nn.Module, nn.Module, nn.Module]:
    """What the student does not share with the teacher: its block, norm and head."""
    return model.decoder_student_block, model.decoder_student_norm, model.decoder_student_pred


def token_weights(batch: Batch, patch: int, by_motion: bool) -> Tensor:
    """Eq. 2 with the anomaly map added, or one weight for all tokens. [B, L], rows summing to 1."""
    if by_motion:
        return patch_weights(batch.gradient, patch, batch.anomaly_map)
    weights = batch.ids_shuffle.new_ones(batch.ids_shuffle.shape).float()
    return weights / weights.shape[1]
