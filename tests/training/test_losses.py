"""The losses, worked out by hand."""

from __future__ import annotations

import torch

from aedmae_fast.training.losses import class_loss, patch_target, student_loss, teacher_loss, weighted_student_loss


def test_the_target_is_the_frame_and_its_anomaly_map_by_patches() -> None:
    frames = torch.randint(0, 256, (2, 4, 6, 3), dtype=torch.uint8)
    anomaly_map = torch.randint(0, 2, (2, 4, 6), dtype=torch.uint8) * 255
    target = patch_target(frames, anomaly_map, 2)
    assert target.shape == (2, 6, 16)
    pixel = torch.cat([frames[1, 3, 2], anomaly_map[1, 3, 2, None]])  # row 1, column 0 of the patch in row 1, column 1
    assert torch.equal(target[1, 4, 8:12], (pixel.float() - 127.5) / 127.5)
    normal = patch_target(frames, None, 2).unflatten(2, (-1, 4))
    assert torch.equal(normal[..., :3], target.unflatten(2, (-1, 4))[..., :3])
    assert (normal[..., 3] == -1).all()


def test_weighted_self_distillation_by_hand() -> None:
    """Two tokens of four values: errors 1 and 9, weights 1/4 and 3/4."""
    student = torch.tensor([[[1.0] * 4, [3.0] * 4]], requires_grad=True)
    teacher = torch.zeros(1, 2, 4, requires_grad=True)
    weights = torch.tensor([[0.25, 0.75]])
    loss = weighted_student_loss(student, teacher, weights)
    assert loss.item() == 0.25 * 1 + 0.75 * 9
    loss.backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_the_release_counts_masked_tokens_only() -> None:
    student, teacher = torch.tensor([[[1.0] * 4, [3.0] * 4]]), torch.zeros(1, 2, 4)
    assert student_loss(student, teacher, torch.tensor([[0, 1]]), kept=1).item() == 9
    assert student_loss(student, teacher, torch.tensor([[1, 0]]), kept=1).item() == 1


def test_the_teachers_loss_is_summed_over_the_batch() -> None:
    prediction, target = torch.ones(3, 2, 4), torch.zeros(3, 2, 4)
    assert teacher_loss(prediction, target, torch.full((3, 2), 0.5)).item() == 3


def test_class_loss_by_hand() -> None:
    loss = class_loss(torch.tensor([0.0, 0.0]), torch.tensor([True, False]))
    torch.testing.assert_close(loss, torch.tensor(2.0).log())
