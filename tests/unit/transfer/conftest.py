"""Networks and examples small enough to train in a blink."""

import numpy as np
import pytest
import torch
from torch import nn

from edgetransfer.backbone.model import LinearHead
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.tasks.classification.train.lesson import PreparedExamples

torch.set_num_threads(1)


def backbone(seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return network.eval()


@pytest.fixture
def network():
    """A classifier of three classes, the same at every call."""

    def make(*more):
        generator = np.random.default_rng(0)
        head = LinearHead(generator.normal(size=(3, 8)).astype(np.float32), np.zeros(3, np.float32))
        return Classifier(nn.Sequential(*backbone(), *more), head)

    return make


@pytest.fixture
def examples():
    """Noise with one colour a class that is a little stronger."""

    def make(count, seed=0):
        generator = np.random.default_rng(seed)
        labels = np.arange(count) % 3
        pictures = generator.normal(size=(count, 3, 16, 16)).astype(np.float32)
        pictures[np.arange(count), labels] += 0.7
        return PreparedExamples([pictures], labels.astype(np.int64))

    return make


@pytest.fixture
def weights():
    """A copy of all that a network holds."""
    return lambda network: {name: value.clone() for name, value in network.state_dict().items()}
