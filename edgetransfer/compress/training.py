"""Trains a quantised graph, without labels, to give what the float graph gives; ranks layers."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgetransfer.compress.encoding import WEIGHT_LIMIT, Codes, Encoding, Grid
from edgetransfer.compress.execution import Execution
from edgetransfer.compress.layout import Layer, Layout, array_of, clip_bounds, find_layers, name_of
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import onnx_ir as ir

    from edgetransfer.compress.posttraining import QuantisedGraph


def rank_layers(
    quantised: QuantisedGraph,
    batches: Iterable[dict[str, Tensor]],
    progress: Progress = silent,
    *,
    shift_invariant: bool = True,
) -> list[tuple[str, float]]:
    """Return the layers by what leaving each alone in float would take away of the noise.

    The few prepared examples are held in memory. Returned are (name of the weights, share of the
    outputs' noise energy that would go), largest first; below zero where the noise would grow. Of
    several outputs the energies are counted in shares of their signals'. What shift-invariant
    outputs have in common in an example is no noise.
    """
    feeds = list(batches)
    teacher = Execution(quantised.model.graph)
    with torch.no_grad():
        wanted = [teacher.run(each) for each in feeds]
        before = _noise(quantised, feeds, wanted, shift_invariant)
        gains = []
        layers = quantised.layout.layers
        for done, layer in enumerate(layers, start=1):
            without = quantised.keeping_float({layer.name})
            left = _noise(without, feeds, wanted, shift_invariant)
            gains.append((layer.name, 1 - left / max(before, 1e-30)))
            progress(done, len(layers))
    return sorted(gains, key=lambda each: -each[1])


def _noise(
    quantised: QuantisedGraph,
    feeds: list[dict[str, Tensor]],
    wanted: list[list[Tensor]],
    shift_invariant: bool,
) -> float:
    network = FakeQuantised(
        quantised.model.graph, quantised.layout, quantised.encoding, FreeWeights
    )

    def energy(rows: Tensor) -> float:
        return float((_centred(rows) if shift_invariant else rows).square().sum())

    errors, signals = [0.0] * len(wanted[0]), [0.0] * len(wanted[0])
    for each, targets in zip(feeds, wanted, strict=True):
        for place, (got, target) in enumerate(zip(network(each), targets, strict=True)):
            errors[place] += energy(got - target)
            signals[place] += energy(target)
    if len(errors) == 1:
        return errors[0]
    return sum(error / max(own, 1e-30) for error, own in zip(errors, signals, strict=True))


KEPT_CODE = 0.45
"""How far a weight may start from the number it is rounded to, in steps: under a half."""


def round_through(x: Tensor) -> Tensor:
    """Round, with the gradient of not rounding (Bengio et al. 2013, arXiv 1308.3432).

    >>> round_through(torch.tensor([0.4, 1.6])).tolist()
    [0.0, 2.0]
    """
    return x + (torch.round(x) - x).detach()


class LearnedGrid(nn.Module):
    """A grid whose step is learnt, by its logarithm (Esser et al. 2020, LSQ, arXiv 1902.08153).

    Its step begins as that of `grid` and may not pass the number `most`, so that a Clip there
    vanishes.
    """

    def __init__(self, grid: Grid, most: float) -> None:
        super().__init__()
        self._grid = grid
        self.log_scale = nn.Parameter(torch.tensor(grid.scale, dtype=torch.double).log().float())
        steps = grid.high - grid.zero_point
        self._largest = most / steps if np.isfinite(most) and steps > 0 else np.inf

    def _scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=self._largest)

    def forward(self, x: Tensor) -> Tensor:
        """Round `x` to the grid."""
        scale, grid = self._scale(), self._grid
        codes = torch.clamp(x / scale + grid.zero_point, grid.low, grid.high)
        return (round_through(codes) - grid.zero_point) * scale

    def grid(self) -> Grid:
        """Return the grid as it is now."""
        return replace(self._grid, scale=float(self._scale().detach()))


class FreeWeights(nn.Module):
    """Weights that training moves, rounded to a fixed step at every use.

    They start near the codes they were given, on the side where the float weight lies.
    """

    def __init__(self, layer: Layer, codes: Codes) -> None:
        super().__init__()
        near, self.scale = _near(layer, codes)
        self.weight = nn.Parameter(near * self.scale)

    def steps(self) -> Tensor:
        """Return the codes as floats, with gradients."""
        return _codes(self.weight / self.scale)


class LearnedRounding(nn.Module):
    """Weights of which only the rounding is learnt: each ends on its own code or one beside it.

    Cheng et al. (2024), SignRound, arXiv 2309.05516, after Nagel et al. (2020), AdaRound, arXiv
    2004.10568: what is added before rounding is learnt, at most half a step. The network that is
    trained is always the rounded one, so nothing has to settle in the end.
    """

    def __init__(self, layer: Layer, codes: Codes) -> None:
        super().__init__()
        self._near, self.scale = _near(layer, codes)
        self.shift = nn.Parameter(torch.zeros_like(self._near))

    def steps(self) -> Tensor:
        """Return the codes as floats, with gradients."""
        return _codes(self._near + torch.clamp(self.shift, -0.5, 0.5))


def _near(layer: Layer, codes: Codes) -> tuple[Tensor, Tensor]:
    """Return numbers that round to the codes, in steps, and the steps; channels first."""
    given = torch.from_numpy(codes.codes.astype(np.float32))
    scale = torch.from_numpy(codes.scale).reshape(-1, *(1,) * (given.ndim - 1))
    floats = torch.from_numpy(np.array(layer.weights())) / scale
    return given + torch.clamp(floats - given, -KEPT_CODE, KEPT_CODE), scale


def _codes(steps: Tensor) -> Tensor:
    return round_through(torch.clamp(steps, -WEIGHT_LIMIT, WEIGHT_LIMIT))


class FakeQuantised(nn.Module):
    """A float graph with the encoding that training starts at, as a module: inputs by name."""

    def __init__(
        self,
        graph: ir.Graph,
        layout: Layout,
        encoding: Encoding,
        weights: type[FreeWeights] | type[LearnedRounding],
    ) -> None:
        super().__init__()
        self._layout = layout
        self._encoding = encoding
        self._execution = Execution(graph)
        bounds = {name_of(o): clip_bounds(o)[1] for node in graph for o in node.outputs}
        self._roots = {name: place for place, name in enumerate(layout.roots())}
        self._grids = [
            LearnedGrid(encoding.grids[name], bounds.get(name, np.inf)) for name in self._roots
        ]
        self._weights = [weights(layer, encoding.weights[layer.name]) for layer in layout.layers]
        self.grids, self.weights = nn.ModuleList(self._grids), nn.ModuleList(self._weights)
        self.biases = nn.ParameterList(
            nn.Parameter(torch.from_numpy(np.array(self._bias(layer)))) for layer in layout.layers
        )
        self._points = set(layout.points)

    def _bias(self, layer: Layer) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        if layer.bias is None:
            return np.zeros(0, dtype=np.float32)
        found = self._encoding.biases.get(layer.name)
        return np.asarray(array_of(layer.bias) if found is None else found)

    def forward(
        self, feeds: Mapping[str, Tensor], seen: dict[str, Tensor] | None = None
    ) -> list[Tensor]:
        """Run the graph with rounding; `seen` takes the quantised tensors that it has as keys."""

        def visit(name: str, tensor: Tensor) -> Tensor:
            if name in self._points:
                tensor = self._grids[self._roots[self._layout.root(name)]](tensor)
            if seen is not None and name in seen:
                seen[name] = tensor
            return tensor

        return self._execution.run(feeds, visit, self._constants())

    def _constants(self) -> dict[str, Tensor]:
        constants = {}
        for layer, weights, bias in zip(
            self._layout.layers, self._weights, self.biases, strict=True
        ):
            numbers = weights.steps() * weights.scale
            constants[layer.name] = torch.movedim(numbers, 0, layer.axis).contiguous()
            if layer.bias is not None:
                constants[name_of(layer.bias)] = bias
        return constants

    def encoding(self) -> Encoding:
        """Return what training came to."""
        layers = self._layout.layers
        codes = {
            layer.name: replace(
                self._encoding.weights[layer.name],
                codes=weights.steps().detach().to(torch.int8).numpy(),
            )
            for layer, weights in zip(layers, self._weights, strict=True)
        }
        biases = {
            layer.name: bias.detach().numpy().copy()
            for layer, bias in zip(layers, self.biases, strict=True)
            if layer.bias is not None
        }
        grids = {name: self._grids[place].grid() for name, place in self._roots.items()}
        return replace(self._encoding, grids=grids, weights=codes, biases=biases)


SMALLEST_SIZE = 1e-3
TIMED_STEPS = 3


@dataclass(frozen=True)
class QuantisedTraining:
    """How a quantised graph is trained.

    About as many seconds are taken, by doing fewer steps where one takes long. `rate` is of weights
    and biases, as a share of each tensor's size (in rounding, in steps); `scale_rate` of the
    logarithms of the activations' steps. Of shift-invariant outputs, what all of an example have in
    common decides nothing, and is no noise.
    """

    weights: type[FreeWeights] | type[LearnedRounding]
    steps: int
    seconds: float
    rate: float
    scale_rate: float
    shift_invariant: bool = True

    def settings(self) -> dict[str, object]:
        """Return all of it as plain values."""
        return {**asdict(self), "weights": self.weights.__name__}


ROUNDING = QuantisedTraining(LearnedRounding, steps=200, seconds=240.0, rate=5e-3, scale_rate=1e-4)
"""Learned rounding: weights stay within one step of the float ones."""
QAT = QuantisedTraining(FreeWeights, steps=400, seconds=600.0, rate=3e-5, scale_rate=1e-4)
"""Quantisation-aware training."""


def train(
    graph: ir.Graph,
    layout: Layout,
    encoding: Encoding,
    batches: Callable[[], Iterator[dict[str, Tensor]]],
    course: QuantisedTraining,
    *,
    progress: Progress = silent,
) -> tuple[Encoding, list[float]]:
    """Train towards the float graph's outputs and towards what flows into its last layer.

    The loss is the noise of the outputs over their signal, as `measure.drift.sqnr_db` defines it,
    and the same of the features in front of the head. The graph is float: the teacher. Training
    starts at the encoding, and `batches` makes an endless stream of prepared examples, the same on
    every call. Returned are the encoding and the loss of every step.
    """
    student = FakeQuantised(graph, layout, encoding, course.weights)
    teacher = Execution(graph)
    watched = name_of(list(find_layers(graph))[-1].input)  # its noise is trained away too
    optimiser = torch.optim.Adam(_groups(student, course))
    rates = [group["lr"] for group in optimiser.param_groups]
    losses: list[float] = []
    clock = _Clock(course)
    for step, feeds in enumerate(batches()):
        if step == clock.steps(step):
            break
        share = 0.5 * (1 + math.cos(math.pi * step / clock.steps(step)))
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * share
        loss = _loss(student, teacher, feeds, watched, course.shift_invariant)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
        progress(step + 1, clock.steps(step))
    return student.encoding(), losses


def _loss(
    student: FakeQuantised,
    teacher: Execution,
    feeds: dict[str, Tensor],
    watched: str,
    shift_invariant: bool,
) -> Tensor:
    wanted, got = {watched: torch.zeros(())}, {watched: torch.zeros(())}

    def keep(name: str, tensor: Tensor) -> Tensor:
        if name in wanted:
            wanted[name] = tensor
        return tensor

    with torch.no_grad():
        targets = teacher.run(feeds, keep)
    pairs = list(zip(student(feeds, got), targets, strict=True))
    if shift_invariant:
        pairs = [(_centred(output), _centred(target)) for output, target in pairs]
    return sum(
        (noise(output, target) for output, target in pairs),
        start=noise(got[watched], wanted[watched]),
    )


class _Clock:
    """Fits the number of steps to the time there is, once the first few tell what one takes."""

    def __init__(self, course: QuantisedTraining) -> None:
        self._course = course
        self._started = time.monotonic()
        self._steps = course.steps

    def steps(self, done: int) -> int:
        """Return how many steps there are in all; rates fall to zero over these."""
        if done == TIMED_STEPS and self._steps == self._course.steps:
            each = (time.monotonic() - self._started) / done
            self._steps = max(done, min(self._steps, int(self._course.seconds / each)))
        return self._steps


def noise(got: Tensor, wanted: Tensor) -> Tensor:
    """Return the energy of the difference over the energy of what was wanted.

    >>> float(noise(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0])))
    0.2...
    """
    return (got - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12)


def _centred(outputs: Tensor) -> Tensor:
    rows = outputs.flatten(1)
    return rows - rows.mean(dim=1, keepdim=True)


def _groups(student: FakeQuantised, course: QuantisedTraining) -> list[dict[str, object]]:
    """Return Adam's groups: rates relative to each tensor's size, as in fine-tuning."""
    groups: list[dict[str, object]] = [
        {"params": list(student.grids.parameters()), "lr": course.scale_rate}
    ]
    relative: list[nn.Parameter] = list(student.biases.parameters())
    if course.weights is LearnedRounding:
        groups.append({"params": list(student.weights.parameters()), "lr": course.rate})
    else:
        relative += list(student.weights.parameters())
    bias_rate = min(course.rate, QAT.rate)
    for parameter in relative:
        if parameter.numel():
            size = float(parameter.detach().square().mean().sqrt())
            rate = course.rate if parameter.ndim > 1 else bias_rate
            groups.append({"params": [parameter], "lr": rate * max(size, SMALLEST_SIZE)})
    return groups
