"""What every loss is blind to, where it is zero, and what its worked cases come to by hand."""

import math

import pytest
import torch

from edgetransfer.tasks.classification.train.distill import angles, distances, soft_targets


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(width, seed=9):
    return torch.linalg.qr(noise(width, width, seed=seed)).Q


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_targets_are_a_divergence_times_the_squared_temperature(temperature):
    student, teacher = noise(5, 4), noise(5, 4, seed=1)
    p, q = (torch.softmax(each / temperature, dim=1) for each in (teacher, student))
    expected = temperature**2 * (p * (p / q).log()).sum(dim=1).mean()
    assert float(soft_targets(student, teacher, temperature)) == pytest.approx(
        float(expected), rel=1e-3
    )


def test_soft_targets_keep_the_size_of_the_gradient_at_high_temperatures():
    sizes = []
    for temperature in (50.0, 200.0):
        student = noise(5, 4).requires_grad_()
        soft_targets(student, noise(5, 4, seed=1), temperature).backward()
        sizes.append(float(student.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_soft_targets_survive_certainty():
    student = torch.zeros(1, 2, requires_grad=True)
    loss = soft_targets(student, torch.tensor([[500.0, -500.0]]), 1.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2))
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("loss", [distances, angles])
def test_relations_do_not_see_size_place_and_direction(loss):
    teacher = noise(7, 5)
    student = 4 * teacher @ rotation(5) + noise(1, 5, seed=3)
    assert float(loss(student, teacher)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [distances, angles])
def test_relations_compare_spaces_of_different_widths(loss):
    teacher = noise(7, 5)
    wider = torch.cat([teacher, torch.zeros(7, 3)], dim=1)
    assert float(loss(wider, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(loss(noise(7, 8, seed=1), teacher)) > 0.01


@pytest.mark.parametrize("loss", [distances, angles])
def test_relations_of_equal_examples_have_a_gradient(loss):
    student = torch.ones(4, 3, requires_grad=True)
    loss(student, noise(4, 3)).backward()
    assert torch.isfinite(student.grad).all()


def test_angles_see_a_bend_that_neighbouring_distances_do_not():
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    # The cosine in the middle is -1 on the line and 0 in the corner; at the ends 1 and 0.7071.
    middle, end = 0.5 * 1.0, 0.5 * (1 - math.sqrt(0.5)) ** 2
    assert float(angles(corner, line)) == pytest.approx(2 * (middle + 2 * end) / 27, rel=1e-4)
