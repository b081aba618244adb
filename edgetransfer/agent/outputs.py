"""What a model gives for its examples, by the names of its outputs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple, Union

import numpy as np

MOST_OUTPUTS = 32
"""Outputs of one model that are taken."""


class Outputs(Dict[str, "np.ndarray[Any, Any]"]):
    """Arrays [N, ...] of the same N examples by the names of the outputs, in the model's order.

    >>> made = Outputs({"boxes": np.zeros((2, 5, 4)), "scores": np.ones((2, 5))})
    >>> made.examples, made.rows(slice(1)).shapes
    (2, {'boxes': (5, 4), 'scores': (5,)})
    """

    @classmethod
    def of(cls, names: Sequence[str], batches: Sequence[Sequence[np.ndarray[Any, Any]]]) -> Outputs:
        """Join what a session gave for one batch after another, in the order of its names."""
        return cls({name: np.concatenate(rows) for name, rows in zip(names, zip(*batches))})

    @classmethod
    def load(cls, file: Path) -> Outputs:
        """Read what `save` wrote."""
        with np.load(file, allow_pickle=False) as held:
            names = [str(name) for name in held["names"]]
            return cls({name: held[str(place)] for place, name in enumerate(names)})

    def save(self, file: Path) -> None:
        """Write them as NumPy's ``.npz``: by their places, as a name may be any word."""
        arrays: Dict[str, Any] = {str(i): array for i, array in enumerate(self.values())}
        with file.open("wb") as opened:
            np.savez(opened, names=np.array(list(self), dtype=np.str_), **arrays)

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return min((len(array) for array in self.values()), default=0)

    @property
    def shapes(self) -> Mapping[str, Tuple[int, ...]]:
        """What one example has of every output."""
        return {name: array.shape[1:] for name, array in self.items()}

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(array.size for array in self.values())

    def rows(self, chosen: Union[slice, Sequence[int]]) -> Outputs:
        """Return those of some examples."""
        return Outputs({name: array[chosen] for name, array in self.items()})

    def not_finite(self) -> int:
        """Count NaN and infinities."""
        return sum(int(np.sum(~np.isfinite(array))) for array in self.values())

    def equals(self, other: Outputs) -> bool:
        """Tell whether every number is the same."""
        return list(self) == list(other) and all(
            np.array_equal(self[name], other[name]) for name in self
        )

    def digest(self) -> str:
        """Return the SHA-256 of all numbers as float32, one output after the other."""
        found = hashlib.sha256()
        for array in self.values():
            found.update(array.astype(np.float32).tobytes())
        return found.hexdigest()


class OutputFiles:
    """Writes outputs to a ``.npy`` file each as they come: they would count as a model's memory.

    The files are ``output-0.npy`` and so on, float32; the `first` batch is written at once, and
    `examples` is how many there will be.
    """

    def __init__(self, folder: Path, first: Sequence[np.ndarray[Any, Any]], examples: int) -> None:
        if len(first) > MOST_OUTPUTS:
            msg = "the model gives %d outputs, at most %d are taken"
            raise ValueError(msg % (len(first), MOST_OUTPUTS))
        self._left = [examples] * len(first)
        self._files = [(folder / output_file(place)).open("wb") for place in range(len(first))]
        for file, array in zip(self._files, first):
            header = {"descr": "<f4", "fortran_order": False, "shape": (examples, *array.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        self.write(first)

    def __enter__(self) -> OutputFiles:
        return self

    def write(self, outputs: Sequence[np.ndarray[Any, Any]]) -> None:
        """Write the outputs of one batch."""
        for place, array in enumerate(outputs):
            self._left[place] -= len(array)
            self._files[place].write(array.astype("<f4").tobytes())

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()
        if any(self._left):
            raise ValueError("the model gives another number of rows than it takes examples")


def output_file(place: int) -> str:
    """Return what the file of an output is called, by its place.

    >>> output_file(0)
    'output-0.npy'
    """
    return "output-%d.npy" % place
