"""What any backbone should beat: grey blocks or word counts, and its own network drawn anew."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from edgetransfer.data.decode import decode
from edgetransfer.graph.prepare import Batch, Preparer, ahead, batched, free_axes, side_by_side
from edgetransfer.graph.trace import Signature, record
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example

Array = np.ndarray[Any, Any]
SIDE = 8
WORDS = 1024


def trivial_features(examples: Sequence[Example]) -> tuple[str, Array]:
    """Return the name of the trivial features of these examples, and the features.

    Pictures are shrunk whole to 8 x 8 by averaging: float32 [N, 192] in 0 to 1. Texts become the
    presence of hashed words, float32 [N, 1024] of length 1 (Weinberger et al. 2009, "Feature
    hashing for large scale multitask learning").
    """
    if examples[0].path is None:
        return "a bag of words", _words([example.text or "" for example in examples])
    return f"{SIDE} x {SIDE} pixels", np.stack(list(ahead(_pixels, examples)))


def _pixels(example: Example) -> Array:
    assert example.path is not None  # one data set holds one modality
    picture = Image.fromarray(decode(example.path))
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel() / 255.0


def _words(texts: list[str]) -> Array:
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(n_features=WORDS, binary=True, alternate_sign=False)
    return np.asarray(hashing.transform(texts).toarray(), dtype=np.float32)


BATCH = 32
NORMED = 16
"""Examples that norms take their statistics from."""
SCALED = 8
"""Examples by which layers are scaled: a map of each has as many values as it has places."""
_IDENTITY = {"running_mean": 0.0, "running_var": 1.0, "weight": 1.0, "bias": 0.0}
_SMALL = 0.02
"""Spread of parameters that no layer draws itself: tokens, positions."""


def drawn_anew(network: nn.Module, batches: Sequence[Sequence[Tensor]], *, seed: int) -> nn.Module:
    """Return a copy with random weights, in evaluation mode, ready for features.

    Convolutions are drawn as He et al. (2015) do, other layers as torch does, norms are the
    identity. Then the data set the scale, as no training will: each convolution is divided by the
    spread of its outputs, channel by channel (Mishkin and Matas 2016, "All you need is a good
    init"; linear layers too where no layer normalises), so that a network whose batch norms were
    folded does not explode; and batch norms get the statistics of these examples. The network
    itself is not changed; each batch is a sequence of its inputs [N, ...], and `seed` the only
    source of randomness.
    """
    fresh = copy.deepcopy(network).eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in fresh.modules():
            _draw(module)
        _set_scale(fresh, [each[:SCALED] for each in batches[0]])
        _set_norms(fresh, batches)
    return fresh


def _draw(module: nn.Module) -> None:
    own = dict(module.named_parameters(recurse=False))
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
    else:
        for name, parameter in own.items():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if "bias" in name else 1.0)
            elif parameter.ndim > 1:
                fan_in = parameter[0].numel()
                nn.init.normal_(parameter, 0.0, fan_in**-0.5 if "weight" in name else _SMALL)
    if isinstance(module, _ConvNd):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            module.bias.zero_()
    buffers = dict(module.named_buffers(recurse=False))
    if "running_var" in buffers:  # frozen batch norms keep all four as buffers
        for name, value in _IDENTITY.items():
            if name in buffers:
                buffers[name].fill_(value)


def _set_scale(network: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Divide layers by the spread of their outputs, in the order in which they run."""
    normalised = any("norm" in type(each).__name__.lower() for each in network.modules())
    kinds: tuple[type[nn.Module], ...] = (_ConvNd,) if normalised else (_ConvNd, nn.Linear)
    with ExitStack() as hooks:
        for layer in network.modules():
            if isinstance(layer, kinds):
                hooks.enter_context(layer.register_forward_hook(_to_unit))
        network(*inputs)


def _to_unit(module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    """Scale a layer, and what it just gave, to a spread of 1 a channel."""
    weight = module.get_parameter("weight")
    axis = 1 if isinstance(module, _ConvNd) else output.ndim - 1
    others = [each for each in range(output.ndim) if each != axis]
    spread = output.std(dim=others, correction=0)
    spread = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        spread = spread.mean().expand_as(spread)  # its weights have the inputs first
        weight.div_(spread[0])
    else:
        weight.div_(spread.view(-1, *[1] * (weight.ndim - 1)))
    if getattr(module, "bias", None) is not None:
        module.get_parameter("bias").div_(spread)
    shape = [-1 if each == axis else 1 for each in range(output.ndim)]
    return output / spread.view(shape)


def _set_norms(network: nn.Module, batches: Sequence[Sequence[Tensor]]) -> None:
    """Give batch norms the mean statistics of these batches."""
    norms = [each for each in network.modules() if isinstance(each, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the plain mean over batches
        norm.train()
    for inputs in batches if norms else ():
        network(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def random_features(
    network: nn.Module,
    prepare: Preparer,
    examples: Sequence[Example],
    *,
    seed: int,
    progress: Progress = silent,
) -> Array:
    """Return features float32 [N, D] of examples by a copy of the network with random weights.

    Its norms see a few of the examples, chosen by the seed; labels play no part.
    """
    few = np.random.default_rng(seed).permutation(len(examples))[:NORMED].tolist()
    first = prepare.join([prepare.prepare(examples[i]) for i in few])
    fresh = drawn_anew(network, [_inputs(first)], seed=seed)
    names = Signature(prepare.input_names, ("features",), free_axes(first))
    recorded = record(fresh, [array[:2] for array in first.values()], names, ship=False)
    if recorded is not None:
        return run_over(recorded, prepare, examples, progress=progress)

    def features(batch: Batch) -> Array:
        found: Array = fresh(*_inputs(batch)).numpy()
        return found

    order, rows = prepare.order(examples), list[Array]()
    for found in side_by_side(features, batched(prepare, [examples[i] for i in order], BATCH)):
        rows.append(found)
        progress(sum(map(len, rows)), len(examples))
    return np.concatenate(rows).astype(np.float32)[np.argsort(order)]


def _inputs(batch: Batch) -> list[Tensor]:
    tensors = [torch.from_numpy(array) for array in batch.values()]
    wide = torch.channels_last  # a quarter faster for convolutions of pictures
    return [each.contiguous(memory_format=wide) if each.ndim == 4 else each for each in tensors]
