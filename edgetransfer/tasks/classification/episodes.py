"""N-way K-shot episodes: heads fitted on the few examples, starts meta-learned over many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.func import functional_call

from edgetransfer.backbone.model import LinearHead
from edgetransfer.errors import DataError
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.head.linear_heads import scaling
from edgetransfer.tasks.classification.train.layers import parameter_group

if TYPE_CHECKING:
    from edgetransfer.spec.options import MetaMethod

    Load = Callable[["Array"], Tensor]

    class FitHead(Protocol):
        """Fits a head on features [N, D] and labels [N]."""

        def __call__(self, features: Array, labels: Array) -> LinearHead:
            """Return the head."""


Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Inner:
    """How a network is fitted to the few examples of an episode: steps of gradient descent.

    Steps are on all of them at once. `head_rate` is over the mean squared length of a centred
    feature vector: a step moves the logits of an average example by about this times its error, by
    less where features share one direction (`adapt`). A `body_rate` of 0 leaves the layers below as
    they are.
    """

    steps: int = 5
    head_rate: float = 5.0
    body_rate: float = 0.0


INNER: dict[MetaMethod, Inner] = {
    "protonet": Inner(steps=0),
    "anil": Inner(),
    "maml": Inner(body_rate=0.01),
}
RATES: dict[MetaMethod, float] = {"protonet": 3e-3, "anil": 3e-4, "maml": 3e-4}
"""Of Adam, relative to the size of each tensor. At 3e-3 the losses of anil and maml rose."""


@dataclass(frozen=True)
class AdaptedNetwork:
    """A network as an episode left it: its own layers by name, and a head [N, D], [N]."""

    layers: dict[str, Tensor]
    weight: Tensor
    bias: Tensor

    def logits(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Return float [B, N]."""
        return self.on(functional_call(network, self.layers, (inputs,)))

    def on(self, features: Tensor) -> Tensor:
        """Apply the head to features [B, D]."""
        return features @ self.weight.T + self.bias


def adapt(network: nn.Module, support: Tensor, labels: Tensor, inner: Inner) -> AdaptedNetwork:
    """Fit to the examples of one episode, the head from zero.

    Features are centred on the mean of the examples, anew wherever the layers have moved to: after
    a ReLU most of their length is what all have in common, and a step of the head would mostly
    follow that. No step is longer than the inverse of their largest variance: with chances of 1 /
    N, as a head of zeros gives them, that step is Newton's along it (Boehning 1992, "Multinomial
    logistic regression algorithm"), and twice as long a one diverges. Spectrograms, which vary
    along one direction most, gave a loss of 32 nats without that bound. A head of zeros treats all
    classes alike, so it does not matter in which order they come (Ye and Chao 2022, "How to train
    your MAML to excel in few-shot classification", section 5). The network, inputs -> features [B,
    D], is not changed; `support` are the inputs of S examples, and labels int64 [S] hold each of N
    classes.
    """
    moving = inner.body_rate > 0
    layers = {name: each.detach() for name, each in network.named_parameters()}
    with torch.no_grad():
        features = network(support)
    middle, ways = features.mean(dim=0), int(labels.max()) + 1
    rate = _head_step(features - middle, inner.head_rate)
    weight, bias = features.new_zeros(ways, features.shape[1]), features.new_zeros(ways)
    for _ in range(inner.steps):
        asked = [weight.requires_grad_(), bias.requires_grad_()]
        if moving:
            asked += [each.requires_grad_() for each in layers.values()]
            features = functional_call(network, layers, (support,))
            middle = features.detach().mean(dim=0)
            rate = _head_step(features.detach() - middle, inner.head_rate)
        loss = nn.functional.cross_entropy((features - middle) @ weight.T + bias, labels)
        found = torch.autograd.grad(loss * ways, asked)
        weight = (weight - rate * found[0]).detach()
        bias = (bias - min(rate, 1.0) * found[1]).detach()
        if moving:
            steps = zip(layers.items(), found[2:], strict=True)
            layers = {n: (p - inner.body_rate * g / ways).detach() for (n, p), g in steps}
    if moving:
        with torch.no_grad():
            middle = functional_call(network, layers, (support,)).mean(dim=0)
    return AdaptedNetwork(layers, weight, bias - weight @ middle)


def _head_step(centred: Tensor, rate: float) -> float:
    """Return `rate` over the mean squared length of features [S, D], bounded as `adapt` says."""
    length = float(centred.square().sum(dim=1).mean())
    widest = float(torch.linalg.eigvalsh(centred @ centred.T)[-1]) / len(centred)
    return min(rate / max(length, 1e-12), 1.0 / max(widest, 1e-12))


def proto_logits(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    """Return `SHARPNESS` times the cosine between queries [Q, D] and class means, both centred.

    Snell, Swersky and Zemel 2017, "Prototypical networks for few-shot learning", with the metric of
    `fit_prototypes`; support is [S, D], labels int64 [S].
    """
    ways = int(labels.max()) + 1
    middle = support.mean(dim=0)
    means = torch.stack([support[labels == each].mean(dim=0) for each in range(ways)])
    directions = nn.functional.normalize(means - middle, dim=1)
    return SHARPNESS * nn.functional.normalize(query - middle, dim=1) @ directions.T


class MetaTraining:
    """Trains a network in place, an episode a step.

    protonet: the loss of nearest prototypes, all layers. anil: the head is fitted in the inner
    loop, the layers below learn outside only (Raghu et al. 2020, "Rapid learning or feature
    reuse?"). maml: both are fitted inside (Finn et al. 2017), the outer gradient taken at the
    fitted weights and applied to the start: first order (section 5.2 there; Nichol et al. 2018).
    The network maps inputs -> features [B, D]; `inner` is not used by protonet, and Adam's rate is
    relative to the size of each tensor.
    """

    def __init__(self, network: nn.Module, method: MetaMethod, inner: Inner, rate: float) -> None:
        self.network, self.method, self.inner = network.eval(), method, inner
        groups = [parameter_group(each, rate) for each in network.parameters()]
        self.optimiser = torch.optim.AdamW(groups)

    def state(self) -> dict[str, Tensor]:
        """Return the weights and what Adam remembers of them, by name."""
        found = {f"weight.{n}": each for n, each in self.network.state_dict().items()}
        for index, kept in self.optimiser.state_dict()["state"].items():
            found |= {f"adam.{index}.{name}": each for name, each in kept.items()}
        return {name: each.detach().contiguous().clone() for name, each in found.items()}

    def resume(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        parts: dict[str, dict[str, Tensor]] = {"weight": {}, "adam": {}}
        for name, each in state.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = each
        self.network.load_state_dict(parts["weight"])
        adam: dict[int, dict[str, Tensor]] = {}
        for name, each in parts["adam"].items():
            index, _, kept = name.partition(".")
            adam.setdefault(int(index), {})[kept] = each
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": adam})

    def step(self, load: Load, episode: Episode) -> float:
        """Learn from one episode; returns the loss on its queries in nats."""
        support, query = load(episode.support.ravel()), load(episode.query.ravel())
        labels = torch.from_numpy(episode.support_labels)
        asked = torch.from_numpy(episode.query_labels)
        self.optimiser.zero_grad(set_to_none=True)
        if self.method == "protonet":
            features = self.network(torch.cat([support, query]))
            own, others = features.split([len(support), len(query)])
            loss = nn.functional.cross_entropy(proto_logits(own, labels, others), asked)
            torch.autograd.backward(loss)
        else:
            fitted = adapt(self.network, support, labels, self.inner)
            layers = {name: each.requires_grad_() for name, each in fitted.layers.items()}
            loss = nn.functional.cross_entropy(fitted.logits(self.network, query), asked)
            found = torch.autograd.grad(loss, list(layers.values()))
            for parameter, gradient in zip(self.network.parameters(), found, strict=True):
                parameter.grad = gradient
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        return float(loss.detach())


def adapted_accuracies(
    network: nn.Module, load: Load, episodes: Episodes, count: int, inner: Inner
) -> Array:
    """Fit to every episode by `adapt`; returns the share of right queries, float64 [count]."""
    right = np.empty(count)
    for number in range(count):
        episode = episodes.draw(number)
        labels = torch.from_numpy(episode.support_labels)
        fitted = adapt(network, load(episode.support.ravel()), labels, inner)
        with torch.no_grad():
            decided = fitted.logits(network, load(episode.query.ravel())).argmax(dim=1).numpy()
        right[number] = (decided == episode.query_labels).mean()
    return right


SHARPNESS = 10.0
"""What cosines are multiplied by to become logits (Gidaris & Komodakis 2018, "Dynamic Few-Shot
Visual Learning without Forgetting", section 3.2, where it is the start of a learnt number)."""


def fit_prototypes(features: Array, labels: Array) -> LinearHead:
    """Fit a nearest-prototype head (Snell et al. 2017) on the cosine between centred features.

    Features are [N, D], and every class from 0 to C - 1 occurs in labels int [N]. With prototypes
    of length 1 the nearest one is the one with the largest product, so the decision is linear in
    the features: centring and scaling are folded into the head. Its logits are `SHARPNESS` times
    the cosine for an example as far from the middle as the examples given were on average. Features
    are divided by the root of their spread as in `fit_probe`.

    >>> head = fit_prototypes(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0, 1]))
    >>> head.logits(np.array([[0.2, 5.0], [-3.0, 1.0]])).argmax(axis=1).tolist()
    [0, 1]
    """
    mean, scale = scaling(features)
    centred = (features - mean) / scale
    lengths = np.linalg.norm(centred, axis=1)
    typical = float(lengths.mean()) or 1.0
    directions = normalize(centred)
    classes = range(int(labels.max()) + 1)
    prototypes = normalize([directions[labels == each].mean(axis=0) for each in classes])
    weight = SHARPNESS / typical * prototypes / scale
    return LinearHead(weight.astype(np.float32), (-weight @ mean).astype(np.float32))


@dataclass(frozen=True)
class EpisodeShape:
    """What an episode is made of: `ways` classes, `shots` to learn from, `queries` to judge by."""

    ways: int
    shots: int
    queries: int = 15


@dataclass(frozen=True)
class Episode:
    """Rows of an episode: support int [ways, shots], query int [ways, queries], none in both."""

    support: Array
    query: Array

    @property
    def support_labels(self) -> Array:
        """int64 [ways * shots]: classes counted anew from 0, as `support.ravel()` runs."""
        return np.repeat(np.arange(len(self.support)), self.support.shape[1])

    @property
    def query_labels(self) -> Array:
        """int64 [ways * queries], as `query.ravel()` runs."""
        return np.repeat(np.arange(len(self.query)), self.query.shape[1])


class Episodes:
    """Draws episodes; number `n` is the same whoever asks, whatever was drawn before.

    Raises:
        DataError: too few classes have enough examples.
    """

    def __init__(self, labels: Array, task: EpisodeShape, seed: int) -> None:
        wanted = task.shots + task.queries
        self._rows = [np.flatnonzero(labels == each) for each in np.unique(labels)]
        enough = [rows for rows in self._rows if len(rows) >= wanted]
        if len(enough) < task.ways:
            raise DataError(
                "too few classes with enough examples for an episode",
                found=f"{len(enough)} of {len(self._rows)} classes have {wanted} examples "
                f"({task.shots} shots and {task.queries} queries)",
                expected=f"{task.ways}",
                fix="take fewer --ways, --shots or --queries",
            )
        self._rows = enough
        self._task = task
        self._seed = seed

    def draw(self, number: int) -> Episode:
        """Return episode `number`."""
        generator = np.random.default_rng([self._seed, number])
        task = self._task
        classes = generator.choice(len(self._rows), task.ways, replace=False)
        wanted = task.shots + task.queries
        drawn = np.stack(
            [generator.choice(self._rows[each], wanted, replace=False) for each in classes]
        )
        return Episode(drawn[:, : task.shots], drawn[:, task.shots :])


def accuracies(
    features: Array,
    episodes: Episodes,
    count: int,
    heads: Mapping[str, FitHead],
    *,
    progress: Progress = silent,
) -> dict[str, Array]:
    """Return the share of right queries in every episode, float64 [count], for each kind of head.

    All heads see the same episodes, so their differences can be paired.
    """
    right = {name: np.empty(count) for name in heads}
    with threadpool_limits(limits=1):
        for number in range(count):
            episode = episodes.draw(number)
            support, query = episode.support.ravel(), episode.query.ravel()
            for name, fit in heads.items():
                head = fit(features[support], episode.support_labels)
                decided = head.logits(features[query]).argmax(axis=1)
                right[name][number] = (decided == episode.query_labels).mean()
            progress(number + 1, count)
    return right


def mean_and_half_width(values: Array) -> tuple[float, float]:
    """Return a mean with half the width of its 95 % interval over episodes (1.96 SE).

    That is how the field reports it (Vinyals et al. 2016; Chen et al. 2019, table 1).

    >>> mean, half = mean_and_half_width(np.array([0.5, 0.7, 0.6, 0.6]))
    >>> round(mean, 3), round(half, 3)
    (0.6, 0.08)
    """
    if len(values) < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))
