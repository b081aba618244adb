"""Runs frozen batch norms and padding as part of the convolution beside them, while training.

It changes no module: the same parameters get the same gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOLERANCE = 1e-3
"""Of the largest value: what two orders of summing may differ by, in networks of many layers."""


def fusible(network: nn.Module, inputs: list[Tensor]) -> bool:
    """Try whether a network gives the same features when fused; it is in evaluation afterwards.

    Args:
        network: prepared inputs -> features or logits.
        inputs: a few examples, each input ``[N, ...]``.
    """
    network.eval()
    if not any(isinstance(each, nn.BatchNorm2d) for each in network.modules()):
        return False
    with torch.no_grad():
        plain: Tensor = network(*inputs)
        try:
            with Fusing():
                fused: Tensor = network(*inputs)
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            return False  # a network that looks into tensors in a way that a promise cannot answer
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
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 (torch's signature)
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 (whatever the function returns)
        """Take a call of a torch function."""
        return _call(func, args, kwargs or {})


class _Promise(Tensor):
    """A tensor of a known shape that is computed when something other than a partner asks."""

    parts: tuple[Any, ...]
    _value: Tensor | None
    _made_at: tuple[bool, int]

    @staticmethod
    def __new__(cls: type[_Promise], shape: tuple[int, ...], parts: tuple[Any, ...]) -> _Promise:
        """Promise what `compute` makes of the parts, the first of which is its input."""
        made: _Promise = Tensor._make_wrapper_subclass(
            cls, shape, dtype=parts[0].dtype, device=parts[0].device
        )
        made.parts, made._value = parts, None
        made._made_at = (torch.is_grad_enabled(), parts[0]._version)
        return made

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return _call(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return _plainly(func, args, kwargs or {})

    def compute(self) -> Tensor:
        raise NotImplementedError

    def kept(self) -> Tensor:
        """Return the tensor, computed once.

        Raises:
            RuntimeError: the input was changed in place since, so that it is too late.
        """
        if self._value is None:
            gradients, version = self._made_at
            if self.parts[0]._version != version:
                raise RuntimeError("the input of a held back operation was changed in place")
            with torch.set_grad_enabled(gradients):
                self._value = self.compute()
        return self._value

    @property
    def free(self) -> bool:
        """Whether a partner may still take its place: nobody asked, and all is as it was."""
        now = (torch.is_grad_enabled(), self.parts[0]._version)
        return self._value is None and self._made_at == now


class _Padded(_Promise):
    """Parts: what is padded with zeros, and by how much as `functional.pad` takes it."""

    def compute(self) -> Tensor:
        return functional.pad(*self.parts)


class _Convolved(_Promise):
    """Parts: input, weight, bias, stride, padding, dilation and groups."""

    def compute(self) -> Tensor:
        return torch.conv2d(*self.parts)


def _call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    if func in _ASKS_SHAPE:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)
    partner = _PARTNERS.get(func)
    made = partner(*args, **kwargs) if partner else None
    return _plainly(func, args, kwargs) if made is None else made


def _plainly(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    args, kwargs = tree_map_only(_Promise, _Promise.kept, (args, kwargs))
    return func(*args, **kwargs)


def _pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor | None:
    plain = mode == "constant" and not value and not isinstance(input, _Promise)
    if not plain or input.ndim != 4:
        return None
    if not any(pad):
        return input
    if len(pad) != 4 or pad[0] != pad[1] or pad[2] != pad[3] or min(pad) < 0:
        return None
    count, channels, height, width = input.shape
    return _Padded((count, channels, height + 2 * pad[2], width + 2 * pad[0]), (input, tuple(pad)))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *geometry: Any,  # noqa: ANN401
    **named: Any,  # noqa: ANN401
) -> Tensor | None:
    stride, padding, dilation, groups = _Geometry(*geometry, **named)
    if isinstance(padding, str) or input.ndim != 4:
        return None
    around = _pair(padding)
    if isinstance(input, _Padded) and input.free:
        input, (across, _, along, _) = input.parts
        around = (around[0] + along, around[1] + across)
    elif isinstance(input, _Promise):
        input = input.kept()
    steps, wide = _pair(stride), _pair(dilation)
    size = [
        (input.shape[2 + axis] + 2 * around[axis] - wide[axis] * (weight.shape[2 + axis] - 1) - 1)
        // steps[axis]
        + 1
        for axis in (0, 1)
    ]
    shape = (input.shape[0], weight.shape[0], *size)
    return _Convolved(shape, (input, weight, bias, steps, around, wide, groups))


class _Geometry(NamedTuple):
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class _Norm(NamedTuple):
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *told: Any,  # noqa: ANN401
    **named: Any,  # noqa: ANN401
) -> Tensor | None:
    norm = _Norm(*told, **named)
    if norm.training or running_mean is None or running_var is None:
        return None
    if not isinstance(input, _Convolved) or not input.free:
        return None
    taken, kernel, shift, *geometry = input.parts
    scale = torch.rsqrt(running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    moved = -scale * (running_mean if shift is None else running_mean - shift)
    moved = moved if norm.bias is None else moved + norm.bias
    return torch.conv2d(taken, kernel * scale[:, None, None, None], moved, *geometry)


_TENSOR: Any = Tensor
_ASKS_SHAPE = (_TENSOR.shape.__get__, _TENSOR.ndim.__get__, _TENSOR.size, _TENSOR.dim)
_PARTNERS: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    functional.pad: _pad,
    torch.conv2d: _conv2d,
    functional.batch_norm: _batch_norm,
}
