"""How torch trains on a machine: threads, number format, norms that are fused.

Frozen batch norms and padding run as part of the convolution beside them. No module is changed: the
same parameters get the same gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from edgetransfer.errors import SpecError

TOLERANCE = 1e-3
"""Of the largest value: what two orders of summing may differ by, in networks of many layers."""


def devices() -> list[str]:
    """Return where networks can be trained here, the fastest first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def device(asked: str | None) -> str:
    """Return the device asked for, or the fastest there is.

    Raises:
        SpecError: torch does not find it here.
    """
    found = devices()
    if asked is None:
        return found[0]
    if asked not in found:
        raise SpecError(
            "torch cannot train there on this machine",
            where=f"--device {asked}",
            expected=" or ".join(found),
        )
    return asked


@dataclass(frozen=True)
class Machine:
    """How training runs here: see `train.finetune.measure`.

    The device is named as torch does; `bf16` takes products in bfloat16, `fused` runs frozen batch
    norms as part of their convolutions (`Fusing`), and `step_seconds` is what one step took
    when it was tried, 0 where it was not.
    """

    threads: int
    bf16: bool
    device: str = "cpu"
    step_seconds: float = 0.0
    fused: bool = False


def fusible(network: nn.Module, inputs: list[Tensor]) -> bool:
    """Try whether a network gives the same outputs when fused on a few inputs, each ``[N, ...]``.

    It is in evaluation mode afterwards.
    """
    network.eval()
    if not any(isinstance(each, nn.BatchNorm2d) for each in network.modules()):
        return False
    with torch.no_grad():
        plain: Tensor = network(*inputs)
        try:
            with Fusing():
                fused: Tensor = network(*inputs)
        except (RuntimeError, TypeError, ValueError):
            return False  # it asks a promise for what only a tensor has: it runs as it is written
    return float((plain - fused).abs().max()) <= TOLERANCE * float(plain.abs().max())


class Fusing(TorchFunctionMode):
    """While it is on, a convolution takes the padding before it and the frozen norm after it.

    A batch norm that keeps its statistics is a scale and a shift a channel. Scaling the weights in
    place of what comes out saves two passes over it forward and three backward; its own scale and
    shift still learn, as they are part of the weights' expression (the folding of Jacob et al.
    2018, "Quantization and training of neural networks for integer-arithmetic-only inference",
    section 3.2, here in floats). A padding of zeros of both sides alike is the convolution's own,
    and one by nothing, which some networks ask for, is no copy.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Take a call of a torch function."""
        return _call(func, args, kwargs or {})


class _Promise(Tensor):
    """A tensor of a known shape, computed when something other than a partner asks for it."""

    call: _Pad | _Convolution
    _value: Tensor | None
    _made_at: tuple[bool, int]

    @staticmethod
    def __new__(cls: type[_Promise], shape: tuple[int, ...], call: _Pad | _Convolution) -> _Promise:
        """Promise what the call gives."""
        like = call.input
        made: _Promise = Tensor._make_wrapper_subclass(
            cls, shape, dtype=like.dtype, device=like.device
        )
        made.call, made._value = call, None
        made._made_at = _moment(like)
        return made

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        return _call(func, args, kwargs or {})

    # Below autograd nothing knows of promises either; torch's stub leaves out the function.
    __torch_dispatch__ = __torch_function__  # type: ignore[assignment]

    def kept(self) -> Tensor:
        """Return the tensor, computed once.

        Raises:
            RuntimeError: the input was changed in place since, so that it is too late.
        """
        if self._value is None:
            gradients, version = self._made_at
            if self.call.input._version != version:
                raise RuntimeError("the input of a held back operation was changed in place")
            with torch.set_grad_enabled(gradients):
                self._value = self.call.plainly()
        return self._value

    @property
    def free(self) -> bool:
        """Whether a partner may still take its place: nobody asked, and all is as it was."""
        return self._value is None and self._made_at == _moment(self.call.input)


def _moment(tensor: Tensor) -> tuple[bool, int]:
    """Return what a held back operation depends on beside its inputs' names."""
    return torch.is_grad_enabled(), tensor._version


class _Partner(Protocol):
    """The arguments of a function under their names, which knows how to be part of another."""

    def fused(self) -> Tensor | None:
        """Return the result or a promise of it; None where the function is to be called."""


def _call(
    func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    if func in _ASKS_SHAPE:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)
    partner = _PARTNERS.get(func)
    made = None if partner is None else partner(*args, **kwargs).fused()
    if made is not None:
        return made
    args, kwargs = tree_map_only(_Promise, _Promise.kept, (args, kwargs))
    return func(*args, **kwargs)


class _Pad(NamedTuple):
    """The arguments of `torch.nn.functional.pad`."""

    input: Tensor
    pad: Sequence[int]
    mode: str = "constant"
    value: float | None = None

    def plainly(self) -> Tensor:
        return functional.pad(*self)

    def fused(self) -> Tensor | None:
        zeros = self.mode == "constant" and not self.value
        if not zeros or isinstance(self.input, _Promise) or self.input.ndim != 4:
            return None
        if not any(self.pad):
            return self.input
        around = self.around
        if around is None:
            return None
        count, channels, *size = self.input.shape
        high, wide = (each + 2 * more for each, more in zip(size, around, strict=True))
        return _Promise((count, channels, high, wide), self)

    @property
    def around(self) -> tuple[int, int] | None:
        """What is added above as below, and left as right; None where they are not alike."""
        if len(self.pad) != 4 or min(self.pad) < 0:
            return None
        left, right, above, below = self.pad
        return (above, left) if above == below and left == right else None


class _Convolution(NamedTuple):
    """The arguments of `torch.conv2d`."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None = None
    stride: int | Sequence[int] = 1
    padding: str | int | Sequence[int] = 0
    dilation: int | Sequence[int] = 1
    groups: int = 1

    def plainly(self) -> Tensor:
        result: Tensor = _CONV2D(*self)
        return result

    def fused(self) -> Tensor | None:
        if isinstance(self.padding, str) or self.input.ndim != 4:
            return None
        taken, (above, left) = self.input, _pair(self.padding)
        if isinstance(taken, _Promise):
            around = taken.call.around if isinstance(taken.call, _Pad) and taken.free else None
            if around is None:
                taken = taken.kept()
            else:
                taken, above, left = taken.call.input, above + around[0], left + around[1]
        held = self._replace(input=taken, padding=(above, left))
        return _Promise((len(taken), len(self.weight), *held.size((above, left))), held)

    def size(self, padding: tuple[int, int]) -> list[int]:
        """Return height and width of what comes out."""
        steps, wide = _pair(self.stride), _pair(self.dilation)
        inner, kernel = self.input.shape[2:], self.weight.shape[2:]
        return [
            (inner[axis] + 2 * padding[axis] - wide[axis] * (kernel[axis] - 1) - 1) // steps[axis]
            + 1
            for axis in (0, 1)
        ]

    def scaled(self, scale: Tensor, shift: Tensor) -> Tensor:
        """Return it with every channel times a scale, plus a shift."""
        bias = shift if self.bias is None else shift + self.bias * scale
        return self._replace(weight=self.weight * scale[:, None, None, None], bias=bias).plainly()


class _BatchNorm(NamedTuple):
    """The arguments of `torch.nn.functional.batch_norm`."""

    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5

    def fused(self) -> Tensor | None:
        if self.training or self.running_mean is None or self.running_var is None:
            return None
        held = self.input
        if not isinstance(held, _Promise) or not held.free:
            return None
        if not isinstance(held.call, _Convolution):
            return None
        scale = torch.rsqrt(self.running_var + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -self.running_mean * scale
        return held.call.scaled(scale, shift if self.bias is None else shift + self.bias)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


_CONV2D: Any = torch.conv2d  # whose stub has an overload for every kind of padding
_TENSOR: Any = Tensor  # whose stub hides that attributes are descriptors
_ASKS_SHAPE = (_TENSOR.shape.__get__, _TENSOR.ndim.__get__, _TENSOR.size, _TENSOR.dim)
_PARTNERS: dict[Callable[..., object], Callable[..., _Partner]] = {
    functional.pad: _Pad,
    _CONV2D: _Convolution,
    functional.batch_norm: _BatchNorm,
}


@contextmanager
def forward(machine: Machine) -> Iterator[None]:
    """Run the passes of a network as the machine is faster: in bfloat16, norms fused."""
    kind = torch.device(machine.device).type
    precision = torch.autocast(kind, dtype=torch.bfloat16) if machine.bf16 else nullcontext()
    with precision, Fusing() if machine.fused else nullcontext():
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch's threads and set them back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
