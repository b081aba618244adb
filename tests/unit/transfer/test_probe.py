"""The probe: what must not change its decisions, and how its strength is chosen."""

import numpy as np
import pytest

from edgetransfer.tasks.classification.head import probe as probe_module
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import (
    FEWEST,
    MAX_FOLDS,
    RISEN,
    STRENGTHS,
    fit_at,
    fit_probe,
    folds,
)


def clusters(count, classes=3, width=12, seed=0, spread=1.5):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width))
    features = centres[labels] + spread * generator.normal(size=(count, width))
    return features.astype(np.float32), labels


@pytest.fixture(scope="module")
def plain():
    return fit_probe(*clusters(60))


def test_it_classifies(plain):
    features, labels = clusters(300, seed=1)
    assert (plain.head.logits(features).argmax(axis=1) == labels).mean() > 0.75
    assert (plain.head.weight.shape, plain.head.bias.shape) == ((3, 12), (3,))
    assert plain.head.weight.dtype == plain.head.bias.dtype == np.float32


def test_the_strength_with_the_smallest_loss_is_taken(plain):
    assert tuple(plain.cross_validated) == STRENGTHS[: len(plain.cross_validated)]
    losses = {strength: loss for strength, (loss, _) in plain.cross_validated.items()}
    assert losses[plain.strength] == min(losses.values())
    assert all(0 <= right <= 1 for _, right in plain.cross_validated.values())


@pytest.mark.parametrize("scale", [1e-3, 1e4])
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_scaling_and_shifting_all_features_changes_no_decision(plain, scale, shift):
    features, labels = clusters(60)
    shifts = shift * np.random.default_rng(5).normal(size=12)
    new = clusters(300, seed=1)[0]
    moved = fit_probe((features + shifts) * scale, labels)
    assert moved.strength == plain.strength
    np.testing.assert_allclose(
        moved.head.logits((new + shifts) * scale), plain.head.logits(new), atol=0.02
    )


def test_the_order_and_the_signs_of_features_change_no_decision(plain):
    features, labels = clusters(60)
    generator = np.random.default_rng(6)
    order, signs = generator.permutation(12), generator.choice([-1, 1], 12)
    new = clusters(300, seed=1)[0]
    turned = fit_probe(features[:, order] * signs, labels)
    assert turned.strength == plain.strength
    np.testing.assert_allclose(
        turned.head.logits(new[:, order] * signs), plain.head.logits(new), atol=0.02
    )


def test_a_feature_that_hardly_varies_is_not_lifted():
    features, labels = clusters(60)
    noise = (1e-6 * np.random.default_rng(7).normal(size=(60, 5))).astype(np.float32)
    weight = fit_probe(np.concatenate([features, noise], axis=1), labels).head.weight
    assert np.abs(weight[:, 12:]).max() * 1e-6 < 1e-3 * np.abs(weight[:, :12]).max()


def test_the_same_seed_gives_the_same_probe(plain):
    again = fit_probe(*clusters(60))
    np.testing.assert_array_equal(again.head.weight, plain.head.weight)
    assert again.cross_validated == plain.cross_validated
    assert fit_probe(*clusters(60), seed=1).cross_validated != plain.cross_validated


@pytest.mark.parametrize(("count", "folds"), [(60, MAX_FOLDS), (15, 5), (12, 4), (6, 2)])
def test_no_more_folds_than_the_rarest_class_has_examples(count, folds):
    assert fit_probe(*clusters(count)).folds == folds


def test_progress_is_told_to_its_end_though_weak_penalties_are_left_out(plain):
    told = []
    fit_probe(*clusters(60), progress=lambda *line: told.append(line))
    tried = len(plain.cross_validated)
    every = len(STRENGTHS)
    assert told[:tried] == [(done, every) for done in range(1, tried + 1)]
    assert told[-1] == (every, every)


def test_penalties_are_weakened_until_the_loss_has_clearly_risen():
    """Labels by chance: the more freedom, the worse."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 30)).astype(np.float32)
    probe = fit_probe(features, np.arange(60) % 2)
    losses = [loss for loss, _ in probe.cross_validated.values()]
    assert tuple(probe.cross_validated) == STRENGTHS[: len(losses)]
    assert len(losses) < len(STRENGTHS)
    assert losses[-1] > RISEN * min(losses)
    assert probe.strength == STRENGTHS[int(np.argmin(losses))]


@pytest.mark.parametrize("count", [3, 5])
def test_one_example_of_a_class_leaves_nothing_to_hold_out(count):
    probe = fit_probe(*clusters(count))
    assert (probe.folds, probe.strength, probe.cross_validated) == (0, FEWEST, {})
    features, labels = clusters(count)
    np.testing.assert_array_equal(probe.head.logits(features).argmax(axis=1), labels)


def test_a_group_is_never_on_both_sides_of_a_fold():
    """Every group has features of its own that say nothing of other groups' labels."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 6)
    labels = np.repeat(generator.permutation(np.arange(20) % 2), 6)
    own = generator.normal(size=(20, 40))[groups]
    features = own + 0.05 * generator.normal(size=(120, 40))
    best = [
        max(
            right
            for _, right in fit_probe(
                features, labels, known=Known(groups=each)
            ).cross_validated.values()
        )
        for each in (None, groups)
    ]
    assert best[0] == 1.0
    assert best[1] < 0.8


def test_a_class_in_one_group_only_is_still_learnt():
    features, labels = clusters(60)
    groups = np.arange(60) % 7
    groups[labels == 2] = 0
    probe = fit_probe(features, labels, known=Known(groups=groups))
    assert 0 < probe.folds <= MAX_FOLDS
    assert probe.head.weight.shape == (3, 12)


def test_one_group_leaves_nothing_to_hold_out():
    assert fit_probe(*clusters(60), known=Known(np.zeros(60, int))).folds == 0


def test_features_that_never_change():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1])
    probe = fit_probe(np.full((9, 4), 7.0, np.float32), labels)
    logits = probe.head.logits(np.full((1, 4), 7.0, np.float32))[0]
    assert logits[1] - logits[0] == pytest.approx(np.log(2), abs=1e-2)


def test_looks_that_show_nothing_new_change_nothing():
    features, labels = clusters(12)
    plain = fit_probe(features, labels)
    looked = fit_probe(features, labels, known=Known(looks=np.stack([features] * 3)))
    assert looked.strength == plain.strength
    assert looked.cross_validated[1.0][0] == pytest.approx(plain.cross_validated[1.0][0], abs=2e-3)
    new = clusters(50, seed=1)[0]
    np.testing.assert_allclose(looked.head.logits(new), plain.head.logits(new), atol=0.02)


def test_looks_that_show_what_varies_help_one_example_a_class():
    generator = np.random.default_rng(3)
    centres = generator.normal(size=(5, 30))
    nuisance = np.zeros(30)
    nuisance[:10] = 3.0  # what a look changes, and examples differ by
    labels = np.arange(5)
    few = centres + nuisance * generator.normal(size=(5, 30))
    looks = centres + nuisance * generator.normal(size=(6, 5, 30))
    truth = np.arange(500) % 5
    new = centres[truth] + nuisance * generator.normal(size=(500, 30))

    def right(probe):
        return (probe.head.logits(new).argmax(axis=1) == truth).mean()

    assert (
        right(fit_probe(few, labels, known=Known(looks=looks)))
        > right(fit_probe(few, labels)) + 0.1
    )


def test_held_out_logits_are_those_that_the_strength_was_chosen_by():
    features, labels = clusters(60)
    probe = fit_probe(features, labels, seed=3)
    loss, right = probe.cross_validated[probe.strength]
    said = probe.held_out.astype(np.float64)
    own = said[np.arange(60), labels] - np.log(np.exp(said).sum(axis=1))
    splits = list(folds(labels, None, 3))
    assert sorted(row for _, held in splits for row in held) == list(range(60))
    np.testing.assert_allclose(np.mean([-own[held].mean() for _, held in splits]), loss, rtol=1e-4)
    decided = said.argmax(axis=1) == labels
    np.testing.assert_allclose(np.mean([decided[held].mean() for _, held in splits]), right)


def test_labels_that_mean_nothing_are_learnt_by_heart_but_not_held_out():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(90, 200)).astype(np.float32)
    labels = generator.permutation(np.arange(90) % 3)
    probe = fit_probe(features, labels)
    by_heart = (fit_at(features, labels, 1.0).logits(features).argmax(axis=1) == labels).mean()
    assert by_heart == 1
    assert (probe.held_out.argmax(axis=1) == labels).mean() < 0.55


def test_where_a_class_has_one_example_nothing_is_held_out():
    features, labels = clusters(60)
    alone = np.concatenate([[0], np.flatnonzero(labels > 0)])
    probe = fit_probe(features[alone], labels[alone])
    assert (probe.folds, probe.strength) == (0, FEWEST)
    assert np.isnan(probe.held_out).all()
    assert probe.held_out.shape == (len(alone), 3)


def test_folds_that_memory_does_not_hold_side_by_side_are_the_same_folds(plain, monkeypatch):
    monkeypatch.setattr(probe_module, "SIDE_BY_SIDE", 2 * 60 * 3)  # two of five
    parted = fit_probe(*clusters(60))
    assert parted.strength == plain.strength
    for strength, (loss, _) in parted.cross_validated.items():
        assert loss == pytest.approx(plain.cross_validated[strength][0], abs=2e-3)
    np.testing.assert_allclose(parted.held_out, plain.held_out, atol=0.02)
