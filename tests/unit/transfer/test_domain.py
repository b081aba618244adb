"""How far examples lie from the source of a backbone."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgetransfer.errors import IntegrityError
from edgetransfer.transfer.study.domain import (
    STATISTICS,
    compare_with_source,
    describe_source,
    distances,
    read_statistics,
    save_statistics,
)


def source(count, seed):
    rng = np.random.default_rng(seed)
    spread = np.geomspace(3.0, 0.1, 40)
    mixing = np.random.default_rng(99).normal(size=(40, 40))
    return (rng.normal(size=(count, 40)) * spread) @ mixing + 2.0


def test_examples_of_the_source_are_at_home():
    statistics = describe_source(source(1000, 0))
    found = compare_with_source(statistics, source(500, 1))
    assert found.median == pytest.approx(1.0, abs=0.1)
    assert found.far < 0.04


def test_other_examples_are_further_away():
    statistics = describe_source(source(1000, 0))
    noise = np.random.default_rng(2).normal(size=(200, 40)) * 6.0
    near, far = (compare_with_source(statistics, source(200, 3) + k * noise) for k in (0.2, 2.0))
    assert 1.0 < near.median < far.median
    assert far.far > 0.9


def test_with_all_directions_it_is_the_mahalanobis_distance():
    features = source(4000, 0)[:, :6]
    statistics = describe_source(features)
    assert statistics.components.shape == (5, 6)  # the sixth direction is the noise
    fitted = features[np.random.default_rng(0).permutation(4000)][800:]
    inverse = np.linalg.inv(np.cov(fitted, rowvar=False))
    centred = features[:50] - fitted.mean(axis=0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", centred, inverse, centred) / 6)
    np.testing.assert_allclose(distances(statistics, features[:50]), expected, rtol=1e-3)


def test_a_feature_that_never_varies_does_no_harm():
    features = np.hstack([source(200, 0), np.zeros((200, 3))])
    found = compare_with_source(describe_source(features), features)
    assert np.isfinite(found.median)


def test_too_few_examples():
    with pytest.raises(ValueError, match="19 examples do not tell how features spread"):
        describe_source(np.zeros((19, 4)))


def test_statistics_travel_beside_the_weights(tmp_path):
    statistics = describe_source(source(100, 0))
    assert read_statistics(tmp_path, 40) is None
    save_statistics(statistics, tmp_path)
    again = read_statistics(tmp_path, 40)
    few = source(9, 1)
    np.testing.assert_allclose(distances(again, few), distances(statistics, few), rtol=1e-6)


def test_statistics_of_another_network(tmp_path):
    save_statistics(describe_source(source(100, 0)), tmp_path)
    with pytest.raises(IntegrityError) as error:
        read_statistics(tmp_path, 512)
    assert str(error.value) == (
        f"{tmp_path / STATISTICS}: the feature statistics are those of another network\n"
        "  found: 40 features\n"
        "  expected: 512\n"
        "  fix: delete the file, or compute it again with transfer.study.domain.describe_source"
    )


@pytest.mark.parametrize("content", [b"nonsense", None])
def test_damaged_statistics(tmp_path, content):
    file = tmp_path / STATISTICS
    if content is None:
        save_file({"mean": np.zeros(3, np.float32)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(IntegrityError, match="not a readable file of feature statistics"):
        read_statistics(tmp_path, 3)
