"""The weights turn the losses on and off; hints begin where a regression ends."""

import numpy as np
import pytest
import torch

from edgetransfer.spec.recipe import DistillSpec
from edgetransfer.tasks.classification.train import distill
from edgetransfer.tasks.classification.train.distill import (
    ANGLES_TO_DISTANCES,
    RIDGE,
    Distillation,
    Hints,
    TeacherLogits,
)
from edgetransfer.tasks.classification.train.lesson import UNLABELLED, CrossEntropy, Seen

COUNT, WIDTH, CLASSES = 40, 6, 3
NOTHING = {"labels": 0, "soft": 0, "hints": 0, "relations": 0}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float16)


START = noise(COUNT, WIDTH)
SAID = TeacherLogits(
    [noise(COUNT, CLASSES, seed=s) for s in (1, 2)], [noise(COUNT, 9, seed=s) for s in (3, 4)]
)


def seen(rows, view=0, labels=None):
    rows = np.array(rows)
    features = torch.from_numpy(noise(len(rows), WIDTH, seed=5).astype(np.float32))
    logits = torch.from_numpy(noise(len(rows), CLASSES, seed=6).astype(np.float32))
    labels = torch.tensor(rows % CLASSES if labels is None else labels)
    return Seen(features.requires_grad_(), logits.requires_grad_(), labels, rows, view)


def objective(said=SAID, **weights):
    hints = Hints(START, said.features[0]) if said.features and weights.get("hints") else None
    return Distillation(DistillSpec(source="x", **{**NOTHING, **weights}), said, hints)


def value(objective, batch):
    with torch.no_grad():
        return float(objective(batch))


def test_labels_alone_are_the_plain_objective():
    batch = seen([3, 4, 5, 6])
    assert value(objective(labels=2), batch) == pytest.approx(2 * value(CrossEntropy(), batch))


@pytest.mark.parametrize("view", [0, 1])
def test_soft_targets_are_of_the_same_look_and_rows(view):
    batch = seen([7, 2, 9], view)
    teacher = torch.from_numpy(SAID.logits[view][[7, 2, 9]].astype(np.float32))
    expected = 3 * distill.soft_targets(batch.logits, teacher, 2.0)
    assert value(objective(soft=3, temperature=2), batch) == pytest.approx(expected.item())


def test_a_text_has_one_look_whatever_the_epoch():
    one = TeacherLogits(SAID.logits[:1], SAID.features[:1])
    values = [value(objective(one, soft=1), seen([0, 1, 2], view)) for view in (0, 5)]
    assert values[0] == values[1]


def test_relations_are_distances_and_angles():
    batch = seen([7, 2, 9, 11], view=1)
    teacher = torch.from_numpy(SAID.features[1][[7, 2, 9, 11]].astype(np.float32))
    expected = distill.distances(batch.features, teacher)
    expected = expected + ANGLES_TO_DISTANCES * distill.angles(batch.features, teacher)
    assert value(objective(relations=5), batch) == pytest.approx(5 * expected.item(), rel=1e-5)


@pytest.mark.parametrize("rows", [[3], [3, 4]])
def test_a_batch_too_small_for_relations_has_none(rows):
    batch = seen(rows)
    plain = value(objective(labels=1), batch)
    assert value(objective(labels=1, relations=5), batch) == pytest.approx(plain)


def test_losses_add_up():
    batch = seen([1, 2, 3, 4])
    weights = {"labels": 0.5, "soft": 2, "hints": 3, "relations": 4}
    parts = [value(objective(**{name: weight}), batch) for name, weight in weights.items()]
    assert value(objective(**weights), batch) == pytest.approx(sum(parts), rel=1e-5)


def test_a_teacher_that_shows_decisions_only_teaches_those():
    closed = TeacherLogits(SAID.logits, None)
    batch = seen([1, 2, 3, 4])
    weights = {"labels": 0.5, "soft": 2}
    everything = objective(closed, **weights, hints=3, relations=4)
    assert value(everything, batch) == pytest.approx(value(objective(**weights), batch))
    assert list(everything.parameters()) == []


def test_unlabelled_examples_are_taught_by_the_teacher_alone():
    batch = seen([1, 2, 3, 4], labels=[UNLABELLED] * 4)
    assert value(objective(labels=1), batch) == 0
    loss = objective(labels=1, soft=1, hints=1, relations=1)(batch)
    loss.backward()
    assert all(float(part.grad.norm()) > 0 for part in (batch.features, batch.logits))


def test_only_hints_learn_along():
    assert list(objective(labels=1, soft=1, relations=1).parameters()) == []
    shapes = [tuple(each.shape) for each in objective(hints=1).parameters()]
    assert shapes == [(9, WIDTH), (9,)]


def test_hints_begin_at_the_regression():
    """Ridge shrinks what even features explain by 1 / (1 + strength); the rest is left."""
    generator = np.random.default_rng(0)
    student = generator.normal(size=(5000, WIDTH))
    teacher = 5 * student @ generator.normal(size=(WIDTH, 9)) + 2
    hints = Hints(student, teacher)
    with torch.no_grad():
        share = float(hints(*(torch.from_numpy(x).float() for x in (student, teacher))))
    assert share == pytest.approx((RIDGE / (1 + RIDGE)) ** 2, abs=0.02)


def test_hints_do_not_see_the_size_and_place_of_the_teachers_features():
    student, teacher = noise(COUNT, WIDTH), noise(COUNT, 9, seed=1).astype(np.float32)
    values = []
    for moved in (teacher, 50 * teacher + 7):
        with torch.no_grad():
            hints = Hints(student, moved)
            values.append(float(hints(torch.from_numpy(student).float(), torch.from_numpy(moved))))
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_hints_of_what_tells_nothing_begin_at_one():
    hints = Hints(noise(COUNT, WIDTH) * 0, noise(COUNT, 9, seed=1))
    with torch.no_grad():
        start = hints(torch.zeros(COUNT, WIDTH), torch.from_numpy(noise(COUNT, 9, seed=1)).float())
    assert float(start) == pytest.approx(1, rel=1e-3)
