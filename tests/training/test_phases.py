"""The phases' losses: options, by another way of computing them."""

from __future__ import annotations

import torch

from aedmae_fast.model.network import AedMae, Output
from aedmae_fast.ops import patch_weights
from aedmae_fast.training.data import Batch
from aedmae_fast.training.losses import patch_target, student_loss
from aedmae_fast.training.phases import StudentPhase, TeacherPhase
from aedmae_fast.training.settings import TrainSettings
from tests.conftest import TINY
from tests.training.scenes import training_frames


def example(settings: TrainSettings) -> tuple[Output, Batch]:
    batch = training_frames(settings).batch(range(5, 75, 10), epoch=0)
    with torch.no_grad():
        return AedMae(TINY)(batch.windows, batch.ids_shuffle), batch


def test_the_teachers_loss_is_the_mean_over_frames_of_weighted_errors() -> None:
    settings = TrainSettings(anomaly_share=1, class_weight=0.5)
    output, batch = example(settings)
    losses = TeacherPhase(settings, TINY.patch).losses(output, batch)
    errors = (output.teacher - patch_target(batch.target, batch.anomaly_map, TINY.patch)).square().mean(-1)
    weights = patch_weights(batch.gradient, TINY.patch, batch.anomaly_map)
    torch.testing.assert_close(losses["reconstruction"], (errors * weights).sum(1).mean())
    torch.testing.assert_close(losses["total"], losses["reconstruction"] + 0.5 * losses["class"])


def test_without_motion_weights_and_class_head_it_is_the_plain_error() -> None:
    settings = TrainSettings(motion_weights=False, class_weight=0)
    output, batch = example(settings)
    losses = TeacherPhase(settings, TINY.patch).losses(output, batch)
    error = (output.teacher - patch_target(batch.target, batch.anomaly_map, TINY.patch)).square().mean()
    assert set(losses) == {"reconstruction", "total"}
    torch.testing.assert_close(losses["total"], error)


def test_self_distillation_as_printed_and_as_released() -> None:
    printed, released = TrainSettings(), TrainSettings(distillation="release")
    output, batch = example(printed)
    losses = StudentPhase(released, TINY.patch, TINY.kept).losses(output, batch)
    expected = student_loss(output.student, output.teacher, batch.ids_shuffle, TINY.kept)
    torch.testing.assert_close(losses["total"], expected)
    losses = StudentPhase(printed, TINY.patch, TINY.kept).losses(output, batch)
    gap = (output.student - output.teacher).square().mean(-1)
    weights = patch_weights(batch.gradient, TINY.patch, batch.anomaly_map)
    torch.testing.assert_close(losses["total"], (gap * weights).sum(1).mean())
