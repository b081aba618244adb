"""Graphs as the stages make them: traced by torch's exporter and cleaned, of pictures and texts."""

import numpy as np
import pytest
import torch

from edgetransfer.graph.trace import Signature, trace


class Pictures(torch.nn.Module):
    """Strided, depthwise and pointwise convolutions with batch norms, ReLU6 and a residual sum."""

    def __init__(self, size=1.0):
        super().__init__()
        self.stem = self._layer(3, 16, 3, stride=2, padding=1)
        self.block = torch.nn.Sequential(
            self._layer(16, 16, 3, padding=1, groups=16), torch.nn.Conv2d(16, 16, 1)
        )
        self.large = torch.nn.Conv2d(16, 16, 3, padding=1)
        self.back = torch.nn.Conv2d(16, 16, 1)
        self.head = torch.nn.Linear(16, 4)
        with torch.no_grad():
            self.large.weight.mul_(size)
            self.large.bias.mul_(size)
            self.back.weight.div_(size)

    @staticmethod
    def _layer(*sizes, **options):
        conv = torch.nn.Conv2d(*sizes, bias=False, **options)
        return torch.nn.Sequential(conv, torch.nn.BatchNorm2d(sizes[1]), torch.nn.ReLU6())

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(self.back(torch.relu(self.large(x))).mean((2, 3)))


class Texts(torch.nn.Module):
    """Embeddings, one layer of attention with a mask of the lowest float, a norm, a head."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(50, 32)
        self.query, self.key, self.value = (torch.nn.Linear(32, 32) for _ in range(3))
        self.norm = torch.nn.LayerNorm(32)
        self.head = torch.nn.Linear(32, 4)

    def forward(self, ids, mask):
        x = self.table(ids)
        away = (1 - mask[:, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 32**0.5 + away
        x = self.norm(x + torch.softmax(scores, -1) @ self.value(x))
        seen = mask[:, :, None].to(x.dtype)
        return self.head((x * seen).sum(1) / seen.sum(1))


@pytest.fixture(scope="session")
def traced_pictures():
    """Return the traced network, the examples it is fed with, and those examples' name."""
    return _pictures(1.0)


@pytest.fixture(scope="session")
def traced_large():
    """The same with activations beyond what 16-bit floats hold."""
    return _pictures(1e6)


def _pictures(size):
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(24, 3, 32, 32)).astype(np.float32)
    return trace(Pictures(size).eval(), [x[:2]], Signature(("input",), ("logits",))), {"input": x}


@pytest.fixture(scope="session")
def traced_texts():
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    mask = (np.arange(9) < rng.integers(3, 10, (24, 1))).astype(np.int64)
    feeds = {"input_ids": rng.integers(0, 50, (24, 9)) * mask, "attention_mask": mask}
    names = Signature(tuple(feeds), ("logits",), axes=("batch", "length"))
    return trace(Texts().eval(), [each[:2] for each in feeds.values()], names), feeds
