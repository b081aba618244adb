"""The laws of fine-tuning, on a network that trains in a blink."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgetransfer.spec.recipe import Recipe
from edgetransfer.tasks.classification.fit.finetune import schedule_of
from edgetransfer.tasks.classification.train.finetune import _Training, finetune
from edgetransfer.tasks.classification.train.layers import parameter_groups
from edgetransfer.tasks.classification.train.lesson import (
    MAX_VIEWS,
    UNLABELLED,
    CrossEntropy,
    Lesson,
    PreparedExamples,
    Schedule,
    Seen,
    Technique,
)
from edgetransfer.transfer.looks import Views
from edgetransfer.transfer.machine_settings import Machine

ONE_THREAD = Machine(threads=1, bf16=False)
SCHEDULE = Schedule(epochs=4, learning_rate=0.02, batch_size=8, seed=3)
HOPELESS = Schedule(epochs=30, learning_rate=1e6, batch_size=8, seed=3)


def lesson(examples, **more):
    return Lesson(examples(24), examples(12, seed=1), **more)


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns(network, examples):
    classifier = network()
    told = []
    tuned = finetune(
        classifier,
        Lesson(examples(48), examples(30, seed=1)),
        Schedule(epochs=8, learning_rate=0.05, batch_size=8, seed=3),
        ONE_THREAD,
        progress=lambda *line: told.append(line),
    )
    losses, right = zip(*tuned.history, strict=True)
    assert right[tuned.best_epoch] == max(right) > right[0]
    assert min(losses) < 0.8 * losses[0]
    assert not classifier.training
    assert told == [(step, 8 * 6) for step in range(1, 6 * (len(losses) - 1) + 1)]


def test_the_weights_are_those_of_the_best_epoch(network, examples):
    classifier, validation = network(), examples(30, seed=1)
    tuned = finetune(classifier, Lesson(examples(24), validation), SCHEDULE, ONE_THREAD)
    with torch.no_grad():
        logits = classifier(torch.from_numpy(validation.inputs[0]))
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(validation.labels))
    assert float(loss) == pytest.approx(tuned.history[tuned.best_epoch][0], rel=1e-4)


def test_the_same_seed_gives_the_same_weights(network, examples, weights):
    results = []
    for seed in (3, 3, 4):
        classifier = network()
        torch.manual_seed(len(results))  # of no consequence
        schedule = Schedule(2, 0.02, 8, seed)
        finetune(classifier, lesson(examples), schedule, ONE_THREAD)
        results.append(weights(classifier))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_same_seed_draws_the_same_dropout(network, examples, weights):
    results = []
    for state in range(2):
        classifier = network(nn.Dropout(0.3))
        torch.manual_seed(state)
        finetune(classifier, lesson(examples), SCHEDULE, ONE_THREAD)
        results.append(weights(classifier))
    assert same(*results)


def test_batch_norms_keep_their_statistics(network, examples, weights):
    classifier = network()
    before = weights(classifier)
    tuned = finetune(classifier, lesson(examples), SCHEDULE, ONE_THREAD)
    assert tuned.best_epoch > 0
    after = weights(classifier)
    statistics = [name for name in before if "running" in name or "batches" in name]
    assert len(statistics) == 6
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    trained = [name for name in before if name not in statistics]
    assert all(not torch.equal(before[name], after[name]) for name in trained)


def test_what_only_gets_worse_ends_with_the_probe(network, examples, weights):
    classifier = network()
    before = weights(classifier)
    tuned = finetune(classifier, lesson(examples), HOPELESS, ONE_THREAD)
    assert tuned.best_epoch == 0
    assert len(tuned.history) == 1 + HOPELESS.patience == 1 + 15
    assert same(before, weights(classifier))


def test_the_epoch_is_kept_that_the_metric_likes_best_whatever_its_log_loss(
    network, examples, monkeypatch
):
    """A14: an epoch that is right more often and too sure of it is the better one."""
    truth = np.array([0, 1, 2, 0, 1, 2])
    right = np.eye(3, dtype=np.float32)[truth]
    wrong = np.eye(3, dtype=np.float32)[(truth + 1) % 3]
    said = {
        1: np.concatenate([9 * right[:5], 99 * wrong[5:]]),  # 5 of 6, and sure where it is wrong
        2: np.concatenate([2 * right[:4], 0.1 * wrong[4:]]),  # 4 of 6, a smaller log loss
    }
    epochs = iter([0.1 * wrong, said[1], said[2]])
    monkeypatch.setattr(_Training, "_decide", lambda _: next(epochs))
    validation = PreparedExamples(examples(6).inputs, truth)
    schedule = replace(SCHEDULE, epochs=2)
    tuned = finetune(network(), Lesson(examples(8), validation), schedule, ONE_THREAD)
    losses, values = zip(*tuned.history, strict=True)
    assert losses[2] < losses[1]
    assert values == (0.0, 5 / 6, 4 / 6)
    assert tuned.best_epoch == 1


def test_of_epochs_that_are_right_as_often_the_less_uncertain_is_kept(
    network, examples, monkeypatch
):
    truth = np.array([0, 1, 2, 0, 1, 2])
    right = np.eye(3, dtype=np.float32)[truth]
    epochs = iter([0 * right, right, 3 * right])
    monkeypatch.setattr(_Training, "_decide", lambda _: next(epochs))
    validation = PreparedExamples(examples(6).inputs, truth)
    schedule = replace(SCHEDULE, epochs=2)
    tuned = finetune(network(), Lesson(examples(8), validation), schedule, ONE_THREAD)
    assert tuned.best_epoch == 2


def test_without_validation_all_epochs_are_trained_up_to_the_stop(network, examples, weights):
    """A13: what is refitted on all labels takes the steps that others have shown to be best."""
    train, validation = examples(24), examples(12, seed=1)
    whole, cut = network(), network()
    tuned = finetune(whole, Lesson(train, validation), replace(SCHEDULE, stop=2), ONE_THREAD)
    nothing = validation.take(np.arange(0))
    blind = finetune(cut, Lesson(train, nothing), replace(SCHEDULE, stop=2), ONE_THREAD)
    assert (blind.best_epoch, blind.history) == (2, ())
    assert tuned.best_epoch == 2
    assert same(weights(whole), weights(cut))


def test_threads_are_set_back(network, examples):
    torch.set_num_threads(1)
    schedule = Schedule(1, 0.01, 8, 0)
    finetune(network(), lesson(examples), schedule, Machine(threads=2, bf16=False))
    assert torch.get_num_threads() == 1


def test_bf16_is_close_to_float(network, examples):
    results = [
        finetune(network(), lesson(examples), SCHEDULE, Machine(threads=1, bf16=each))
        for each in (False, True)
    ]
    losses = [[loss for loss, _ in tuned.history] for tuned in results]
    np.testing.assert_allclose(*losses, atol=0.1)


def test_layers_learn_slower_towards_the_input(network):
    classifier = network()
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_(torch.ones_like(parameter))
    groups = parameter_groups(classifier, 0.01)
    parameters = [group["params"][0] for group in groups]
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    assert [names[id(parameter)] for parameter in parameters] == list(names.values())
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1] == pytest.approx(0.01)


def test_only_matrices_and_filters_decay(network):
    for group in parameter_groups(network(), 0.01):
        (parameter,) = group["params"]
        assert (group["weight_decay"] > 0) == (parameter.ndim > 1)


def test_a_layer_of_small_weights_takes_small_steps(network):
    """Adam's step does not depend on the size of what it changes."""
    large, small = network(), network()
    with torch.no_grad():
        small.network[0].weight.mul_(0.1)
    rates = [parameter_groups(each, 0.01)[0]["lr"] for each in (large, small)]
    assert rates[0] == pytest.approx(10 * rates[1], rel=1e-4)


class Remembering(CrossEntropy):
    """Cross-entropy that keeps what it was shown, and a factor of its own that does nothing."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(2))
        self.seen = []

    def forward(self, seen):
        self.seen.append(seen)
        return super().forward(seen) * self.factor.prod()


def test_the_objective_is_told_who_was_seen_from_where(network, examples):
    objective = Remembering()
    finetune(network(), lesson(examples, objective=objective), SCHEDULE, ONE_THREAD)
    assert [seen.view for seen in objective.seen] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    for epoch in range(4):
        rows = np.concatenate([seen.rows for seen in objective.seen[3 * epoch : 3 * epoch + 3]])
        assert sorted(rows) == list(range(24))
    for seen in objective.seen:
        np.testing.assert_array_equal(seen.labels, examples(24).labels[seen.rows])
        assert (seen.features.shape, seen.logits.shape) == ((8, 8), (8, 3))


def test_the_network_saw_the_view_that_the_objective_was_told(network, examples):
    objective, classifier = Remembering(), network()
    finetune(classifier, lesson(examples, objective=objective), HOPELESS, ONE_THREAD)
    first = objective.seen[0]
    pictures = torch.from_numpy(examples(24).inputs[0][first.rows])
    shown = Views(HOPELESS.seed, MAX_VIEWS).show(pictures, first.view, first.rows)
    with torch.no_grad():
        features = network().network(shown)
    torch.testing.assert_close(first.features.detach(), features)


def test_what_the_objective_holds_learns_along(network, examples):
    objective = Remembering()
    finetune(network(), lesson(examples, objective=objective), SCHEDULE, ONE_THREAD)
    assert not torch.equal(objective.factor.detach(), torch.ones(2))


def test_the_default_is_the_cross_entropy_to_the_labels(network, examples, weights):
    results = []
    for more in ({}, {"objective": CrossEntropy()}):
        classifier = network()
        finetune(classifier, lesson(examples, **more), SCHEDULE, ONE_THREAD)
        results.append(weights(classifier))
    assert same(*results)


def test_examples_without_a_label_teach_nothing_by_themselves(network, examples, weights):
    """They do change which batches there are; so all of one batch have none here."""
    classifier = network()
    before = weights(classifier)
    train = PreparedExamples(examples(8).inputs, np.full(8, UNLABELLED))
    schedule = Schedule(epochs=1, learning_rate=0.0, batch_size=8, seed=0)
    tuned = finetune(classifier, Lesson(train, examples(12, seed=1)), schedule, ONE_THREAD)
    assert same(before, weights(classifier))
    assert np.isfinite(tuned.history).all()


def test_views_are_bounded():
    assert Schedule(MAX_VIEWS + 5, 0.1, 8, 3).views == Views(3, MAX_VIEWS)
    assert Schedule(2, 0.1, 8, 3).views == Views(3, 2)


@pytest.mark.parametrize(("epochs", "patience"), [(2, 6), (12, 6), (30, 15)])
def test_a_long_schedule_is_more_patient(epochs, patience):
    assert Schedule(epochs, 0.1, 8, 3).patience == patience


def technique(**options):
    return replace(SCHEDULE, technique=Technique(**options))


def test_a_pull_to_the_start_leaves_the_weights_nearer_to_it(network, examples, weights):
    moved = []
    for l2_sp in (0.0, 5.0):
        classifier = network()
        before = weights(classifier)["network.0.weight"]
        finetune(classifier, lesson(examples), technique(l2_sp=l2_sp), ONE_THREAD)
        moved.append(float((weights(classifier)["network.0.weight"] - before).norm()))
    assert 0 < moved[1] < 0.9 * moved[0]


def test_averaged_weights_lie_between_the_start_and_the_end(network, examples):
    """So far that they hardly moved, where the mean remembers nearly everything."""
    histories = [
        finetune(network(), lesson(examples), technique(averaging=each), ONE_THREAD).history
        for each in (0.0, 0.9, 0.9999)
    ]
    losses = [history[-1][0] for history in histories]
    assert losses[0] < losses[1] < losses[2] < histories[0][0][0]


def test_layers_are_set_free_from_the_head_down(network, examples, weights):
    classifier = network()
    before = weights(classifier)
    schedule = replace(technique(gradual=True), epochs=2)
    tuned = finetune(classifier, lesson(examples), schedule, ONE_THREAD)
    assert tuned.best_epoch == 2
    after = weights(classifier)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias", "network.4.bias"}
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_rare_classes_come_as_often_where_classes_are_balanced(network, examples):
    objective = Remembering()
    labels = np.zeros(96, dtype=np.int64)
    labels[:6], labels[6:12] = 1, 2
    train = PreparedExamples(examples(96).inputs, labels)
    finetune(
        network(),
        Lesson(train, examples(12, seed=1), objective),
        technique(balanced=True),
        ONE_THREAD,
    )
    drawn = np.concatenate([seen.labels.numpy() for seen in objective.seen])
    shares = np.bincount(drawn) / len(drawn)
    assert shares.min() > 0.25


def test_what_was_decided_before_and_after_is_kept(network, examples):
    classifier, validation = network(), examples(30, seed=1)
    with torch.no_grad():
        before = classifier(torch.from_numpy(validation.inputs[0])).numpy()
    tuned = finetune(classifier, Lesson(examples(24), validation), SCHEDULE, ONE_THREAD)
    with torch.no_grad():
        after = classifier(torch.from_numpy(validation.inputs[0])).numpy()
    np.testing.assert_allclose(tuned.said[0], before, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tuned.said[tuned.best_epoch], after, rtol=1e-4, atol=1e-5)


def test_a_smoothed_label_is_spread_over_all_classes():
    said = torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0]])
    seen = Seen(said, said, torch.tensor([0, 2]), np.arange(2), 0)
    hard, smooth = (float(CrossEntropy(share)(seen)) for share in (0.0, 0.3))
    evenly = float(-torch.log_softmax(said, dim=1).mean())
    assert smooth == pytest.approx(0.7 * hard + 0.3 * evenly)


def test_every_restraint_of_a_recipe_gets_to_training():
    fit = {"label_smoothing": 0.1, "averaging": 0.2, "l2_sp": 0.3, "balanced": True}
    asked = {"data": {"source": "x"}, "seed": 7}
    gradual = {**fit, "method": "finetune", "gradual": True, "epochs": 5, "batch_size": 16}
    schedule = schedule_of(SimpleNamespace(recipe=Recipe.model_validate({**asked, "fit": gradual})))
    assert schedule.technique == Technique(0.1, 0.2, 0.3, balanced=True, gradual=True)
    assert (schedule.epochs, schedule.batch_size, schedule.seed) == (5, 16, 7)
    adapted = Recipe.model_validate({**asked, "fit": {**fit, "method": "lora", "rank": 4}})
    assert schedule_of(SimpleNamespace(recipe=adapted)).technique.rank == 4
