"""Reads the prepared inputs of a job from .npy files, a batch at a time.

Files are read, not mapped: the pages of a mapped file count as memory of the process, so that the
peak of a model was that of its test set.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Union

import numpy as np

InputFiles = Mapping[str, Union[str, List[str]]]


def spread(held: int, count: int) -> List[int]:
    """Return some indices, spread evenly over all.

    >>> spread(9, 3)
    [0, 4, 8]
    """
    return [int(index) for index in np.linspace(0, held - 1, num=min(count, held))]


class _Stack:
    """ExampleFiles of one shape, one behind the other in a file."""

    def __init__(self, file: str) -> None:
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
        self._type, self._shape, self._offset = mapped.dtype, mapped.shape, mapped.offset
        if not mapped.flags.c_contiguous:
            raise ValueError("%s does not hold one example behind the other" % file)
        self._file = file

    def __len__(self) -> int:
        return int(self._shape[0])

    def read(self, start: int, end: int) -> np.ndarray[Any, Any]:
        """Return the examples of some places."""
        shape = (min(end, len(self)) - start, *self._shape[1:])
        size = int(np.prod(self._shape[1:], dtype=np.int64))
        offset = self._offset + start * size * self._type.itemsize
        read = np.fromfile(self._file, self._type, shape[0] * size, offset=offset)
        return read.reshape(shape)


class ExampleFiles:
    """The examples of one variant, in batches; `total` of them in all.

    Files are, for every input of the model, either one ``.npy`` file that stacks all examples along
    its first axis, or a list of them, one an example, whose shapes may differ, and which make no
    batch of several. ValueError where they do, the inputs disagree on the number, or there is none.
    """

    def __init__(self, files: InputFiles, batch: int = 1) -> None:
        self._stacks = {name: _Stack(file) for name, file in files.items() if isinstance(file, str)}
        self._lists = {name: file for name, file in files.items() if not isinstance(file, str)}
        counts = {len(stack) for stack in self._stacks.values()}
        counts |= {len(paths) for paths in self._lists.values()}
        if len(counts) != 1 or counts == {0}:
            raise ValueError(
                "inputs hold %s examples: expected one number above 0" % sorted(counts)
            )
        if batch > 1 and self._lists:
            raise ValueError("examples of their own shapes make no batch of %d" % batch)
        self._batch = batch
        self.total = counts.pop()
        self._count = -(-self.total // batch)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Dict[str, np.ndarray[Any, Any]]:
        if index >= len(self):
            raise IndexError(index)
        batch = {
            name: stack.read(index * self._batch, (index + 1) * self._batch)
            for name, stack in self._stacks.items()
        }
        for name, paths in self._lists.items():
            batch[name] = np.load(paths[index], allow_pickle=False)
        return batch

    def some(self, count: int) -> List[Dict[str, np.ndarray[Any, Any]]]:
        """Return `count` examples spread evenly over all, or all where there are fewer."""
        return [self[index] for index in spread(len(self), count)]
