"""Runs a graph from layer to layer, all batches at each, and holds what waits between."""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.prepare import ahead
from edgetransfer.spec.memory import memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Array = np.ndarray[Any, Any]
WAITING_SHARE = 8
"""What waits for later layers takes this part of the machine's memory, and lies in files beyond."""


class SpillBuffer:
    """Holds arrays in memory while there is room, and in files of an empty folder from there on."""

    def __init__(self, folder: Path, memory_bytes: int | None = None) -> None:
        self._folder = folder
        self._left = memory() // WAITING_SHARE if memory_bytes is None else memory_bytes
        self._lock = Lock()
        self._files = count()

    def keep(self, array: Array) -> Array | Path:
        """Take in an array; workers do so at once."""
        with self._lock:
            fits = array.nbytes <= self._left
            self._left -= array.nbytes if fits else 0
        if fits:
            return array
        file = self._folder / f"{next(self._files)}.npy"
        np.save(file, array)
        return file

    def get(self, kept: Array | Path) -> Array:
        """Return what `keep` was given."""
        return kept if isinstance(kept, np.ndarray) else np.load(kept)

    def drop(self, kept: Array | Path) -> None:
        """Forget what `keep` returned."""
        if isinstance(kept, np.ndarray):
            with self._lock:
                self._left += kept.nbytes
        else:
            kept.unlink()


class Stream:
    """One graph, cut where its layers begin, and what flows through it of every batch.

    A step runs what no later layer has a part in, in ONNX Runtime and as a device runs it. Where
    integers flow from one step to a later one they wait as integers.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        constants: Sequence[str],
        inputs: Sequence[str],
        spill: SpillBuffer,
    ) -> None:
        """Cut a graph whose layers have these constants, by name, and take these `inputs`."""
        self._model = model
        self._spill = spill
        self._constants = {each.name: each for each in model.graph.initializer}
        self._waiting: dict[tuple[str, int], Array | Path] = {}
        self._types = {each.name: each for each in (*model.graph.input, *model.graph.value_info)}
        self._batches = 0
        self._cut({name: place for place, name in enumerate(constants, 1)}, inputs)

    def _cut(self, layers: Mapping[str, int], inputs: Sequence[str]) -> None:
        """Find for every step its nodes, what it gives to later steps, and what ends with it."""
        nodes = list(self._model.graph.node)
        step = dict(layers)
        for node in nodes:
            begin = max((step.get(name, 0) for name in node.input), default=0)
            step.update(dict.fromkeys(filter(None, node.output), begin))  # "": an output left out
        self._makers = {name: node for node in nodes for name in node.output if name}
        last = {name: place for place, name in enumerate(inputs, 1)}
        self._nodes: list[list[onnx.NodeProto]] = [[] for _ in range(len(inputs) + 1)]
        for node in reversed(nodes):
            if node.op_type == _RESTORE or not any(name in last for name in node.output):
                continue
            at = max(step[name] for name in node.output if name)
            self._nodes[at].insert(0, node)
            for name in map(self._stored, filter(None, node.input)):
                last[name] = max(last.get(name, 0), at)
        self._taken = {each.name for each in self._model.graph.input} & last.keys()
        moving = {*self._makers, *self._taken}
        self._given: dict[int, list[str]] = defaultdict(list)
        self._ending: dict[int, list[str]] = defaultdict(list)
        for name, end in last.items():
            begin = step.get(name, 0)
            if name in moving and (end > begin or name not in self._makers):
                self._ending[end].append(name)
                if name in self._makers:
                    self._given[begin].append(name)

    def _stored(self, name: str) -> str:
        """Return what stands for a tensor where it waits: for what integers mean, the integers."""
        maker = self._makers.get(name)
        restored = maker is not None and maker.op_type == _RESTORE
        return maker.input[0] if maker is not None and restored else name

    def begin(self, batch: int, feeds: Mapping[str, Array]) -> None:
        """Take in the inputs of one batch."""
        for name in self._taken & feeds.keys():
            self._waiting[name, batch] = self._spill.keep(feeds[name])
        self._batches = max(self._batches, batch + 1)

    def get(self, name: str, batch: int) -> Array:
        """Return a tensor that waits."""
        return self._spill.get(self._waiting[name, batch])

    def put(self, constants: Mapping[str, Array]) -> None:
        """Replace constants, by name, before the step that takes them."""
        for name, array in constants.items():
            self._constants[name] = onnx.numpy_helper.from_array(array, name)

    def advance(self, step: int) -> None:
        """Run one step over all batches: 0 comes before any layer, i + 1 begins with layer i."""
        given, ending = self._given[step], self._ending[step]
        model, taken = self._part(self._nodes[step], given)
        session = open_here(model) if given else None

        def run(batch: int) -> None:
            if session is not None:
                feeds = {name: self.get(name, batch) for name in taken}
                for name, array in zip(given, session.run(feeds), strict=True):
                    self._waiting[name, batch] = self._spill.keep(array)
            for name in ending:
                self._spill.drop(self._waiting.pop((name, batch)))

        for _ in ahead(run, range(self._batches)):
            pass

    def _part(
        self, nodes: Sequence[onnx.NodeProto], given: Sequence[str]
    ) -> tuple[onnx.ModelProto, list[str]]:
        """Return some nodes as a graph, with what they take restored, and the names it takes."""
        part = onnx.ModelProto(ir_version=self._model.ir_version)
        part.opset_import.extend(self._model.opset_import)
        part.graph.name = "step"
        made, taken = set[str](), list[str]()
        for node in nodes:
            for each in (*self._restoring(node), node):
                if made.issuperset(filter(None, each.output)):
                    continue
                part.graph.node.append(each)
                taken += [name for name in each.input if name and name not in made]
                made.update(each.output)
        outside = list(dict.fromkeys(name for name in taken if name not in self._constants))
        fixed = dict.fromkeys(name for name in taken if name in self._constants)
        part.graph.initializer.extend(self._constants[name] for name in fixed)
        part.graph.input.extend(map(self._type, outside))
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in given)
        return part, outside

    def _type(self, name: str) -> onnx.ValueInfoProto:
        known = self._types.get(name)
        if known is not None:
            return known
        kind = helper.np_dtype_to_tensor_dtype(self.get(name, 0).dtype)
        return helper.make_tensor_value_info(name, kind, None)

    def _restoring(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        makers = (self._makers.get(name) for name in node.input)
        return (each for each in makers if each is not None and each.op_type == _RESTORE)


_RESTORE = "DequantizeLinear"
