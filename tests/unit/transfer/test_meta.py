"""Meta-learned starts: what the three methods must have in common, and that they learn."""

import numpy as np
import pytest
import torch
from torch import nn

from edgetransfer.tasks.classification.episodes import (
    INNER,
    Episodes,
    EpisodeShape,
    Inner,
    MetaTraining,
    adapt,
    adapted_accuracies,
    proto_logits,
)

CLASSES, EACH = 12, 30


@pytest.fixture(scope="module")
def source():
    """Inputs whose class shows in 4 of 20 numbers only, faintly."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    inputs = 3 * generator.normal(size=(len(labels), 20))
    inputs[:, :4] = 1.5 * generator.normal(size=(CLASSES, 4))[labels] + 0.3 * inputs[:, :4] / 3
    return torch.from_numpy(inputs).float(), labels


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 16))


def right(net, source, inner, seed=5):
    inputs, labels = source
    episodes = Episodes(labels, EpisodeShape(4, 3, 5), seed)
    return adapted_accuracies(net, inputs.__getitem__, episodes, 40, inner).mean()


@pytest.mark.parametrize("method", ["protonet", "anil", "maml"])
def test_episodes_teach_what_tells_classes_apart(source, method):
    inputs, labels = source
    net, episodes = network(), Episodes(labels, EpisodeShape(4, 3, 5), seed=1)
    judged = INNER["anil" if method == "protonet" else method]
    before = right(net, source, judged)
    training = MetaTraining(net, method, INNER[method], rate=0.02)
    losses = [training.step(inputs.__getitem__, episodes.draw(n)) for n in range(150)]
    assert np.mean(losses[-30:]) < np.mean(losses[:30]) - 0.1
    assert right(net, source, judged) > before + 0.1


def test_maml_that_leaves_the_layers_alone_is_anil(source):
    inputs, labels = source
    episode = Episodes(labels, EpisodeShape(4, 3, 5), seed=2).draw(0)
    weights = []
    for method in ("anil", "maml"):
        net = network()
        MetaTraining(net, method, Inner(body_rate=0.0), rate=0.02).step(inputs.__getitem__, episode)
        weights.append(torch.cat([each.flatten() for each in net.parameters()]))
    torch.testing.assert_close(*weights)


def test_fitting_to_an_episode_does_not_change_the_start(source):
    inputs, _ = source
    net = network()
    before = [each.clone() for each in net.parameters()]
    fitted = adapt(net, inputs[[0, 40, 80]], torch.arange(3), INNER["maml"])
    for now, old in zip(net.parameters(), before, strict=True):
        assert torch.equal(now, old)
    assert not torch.equal(fitted.layers["0.weight"], before[0])
    assert fitted.logits(net, inputs[[0, 40, 80]]).argmax(dim=1).tolist() == [0, 1, 2]


def test_the_order_of_classes_does_not_matter(source):
    inputs, _ = source
    net, rows = network(), [0, 40, 80]
    one = adapt(net, inputs[rows], torch.tensor([0, 1, 2]), INNER["maml"])
    other = adapt(net, inputs[rows], torch.tensor([2, 0, 1]), INNER["maml"])
    torch.testing.assert_close(one.weight[[1, 2, 0]], other.weight, rtol=1e-4, atol=1e-6)


def test_no_step_diverges_where_features_vary_along_one_direction():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(5).repeat_interleave(5)
    features = torch.randn(25, 8, generator=generator)
    features[:, 0] *= 30
    features[:, 1:6] += 3 * nn.functional.one_hot(labels)
    fitted = adapt(nn.Identity(), features, labels, INNER["anil"])
    loss = nn.functional.cross_entropy(fitted.on(features), labels)
    assert float(loss) < np.log(5)


def test_the_nearest_prototype_has_the_largest_logit():
    support = torch.tensor([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
    logits = proto_logits(support, torch.arange(3), torch.tensor([[3.0, 1.0], [-1.0, -2.0]]))
    assert logits.argmax(dim=1).tolist() == [0, 2]
    assert logits.abs().max() <= 10
