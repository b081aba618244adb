"""Says what an app carries: the model, what goes with it, and the runtime of each kit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import onnx

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.kits.model_folder import refuse_unfit, write_model_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgetransfer.bundle.opened import Bundle

RUNTIMES = "runtime_sizes.json"
"""What ``scripts/runtime_sizes.py`` read from the packages that kits pin."""
_STANDARD = "ai.onnx"


class SizeRow(NamedTuple):
    """What a part takes on the disk, and to download as gzip has it."""

    part: str
    bytes: int
    gzip_bytes: int


def model_rows(bundle: Bundle) -> list[SizeRow]:
    """Return a row for each file that the code of a kit reads."""
    refuse_unfit(bundle)
    with TemporaryDirectory() as name:
        folder = Path(name, "model")
        write_model_folder(bundle, folder)
        return [_row(each) for each in sorted(folder.iterdir(), key=lambda f: -f.stat().st_size)]


def _row(file: Path) -> SizeRow:
    content = file.read_bytes()
    return SizeRow(file.name, len(content), len(gzip.compress(content, 9)))


def runtime_rows() -> Iterator[SizeRow]:
    """Yield what ONNX Runtime takes in each kit, by processor where there are several."""
    text = files("edgetransfer.kits").joinpath(RUNTIMES).read_text("utf-8")
    read: Mapping[str, Any] = json.loads(text)
    for kit, runtime in read.items():
        for part, (plain, packed) in runtime["parts"].items():
            yield SizeRow(f"{kit}: onnxruntime {runtime['version']}, {part}", plain, packed)


def required_operators(model: Path, config: Mapping[str, str]) -> str:
    """Return the operators that a build of ONNX Runtime for this model alone has to hold.

    The lines are those of ``--include_ops_by_config``: domain, version and operators, of the model
    as it is and of what the runtime makes of it on this machine, whose fused operators are others
    on other processors.
    """
    with TemporaryDirectory() as name:
        optimised = f"{name}/optimised.onnx"
        OnnxSession(str(model), config=dict(config), optimised_to=optimised)
        models = [onnx.load(each, load_external_data=False) for each in (model, optimised)]
    needed: dict[tuple[str, int], set[str]] = {}
    for each in models:
        versions = {(o.domain or _STANDARD): o.version for o in each.opset_import}
        for node in _nodes(each.graph):
            domain = node.domain or _STANDARD
            needed.setdefault((domain, versions.get(domain, 1)), set()).add(node.op_type)
    lines = (f"{d};{v};{','.join(sorted(names))}\n" for (d, v), names in sorted(needed.items()))
    return "".join(lines)


def _nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    """Yield the nodes of a graph and of those within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
