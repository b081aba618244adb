"""Writes golden vectors: inputs with the tensors and logits that any port must reproduce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgetransfer.bundle.files import write_json
from edgetransfer.graph.embed import PICTURE
from edgetransfer.graph.hosted import open_here

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer

SCHEMA = "edgetransfer.golden/1"


def write_golden(
    folder: Path, models: Path, examples: Sequence[Example], prepare: Preparer
) -> None:
    """Write the examples and what both models make of them on this machine.

    ``index.json`` lists, for every case, its files with type and shape; ``.bin`` files are
    little-endian and row-major. Pictures come as PNG and as decoded RGB.

    Args:
        folder: is made.
        models: folder that holds ``core.onnx`` and ``reference.onnx``.
        examples: a few, in order.
        prepare: the contract.
    """
    folder.mkdir()
    core = open_here(str(models / "core.onnx"))
    reference = open_here(str(models / "reference.onnx"))
    cases = []
    for index, example in enumerate(examples):
        stem = f"{index:02d}"
        prepared = prepare.prepare(example)
        case: dict[str, Any] = {"label": example.label, "text": example.text, "prepared": {}}
        raw = prepare.raw(example)
        if PICTURE in raw:
            picture = raw[PICTURE][0]
            Image.fromarray(picture).save(folder / f"{stem}.png", optimize=False)
            case["png"] = f"{stem}.png"
            case["picture"] = _dump(folder, f"{stem}.{PICTURE}.bin", picture)
        for name, array in prepared.items():
            case["prepared"][name] = _dump(folder, f"{stem}.{name}.bin", array[0])
        case["core_logits"] = [float(x) for x in core.run(prepared)[0][0]]
        case["reference_logits"] = [float(x) for x in reference.run(prepared)[0][0]]
        cases.append(case)
    write_json(folder / "index.json", {"schema": SCHEMA, "cases": cases})


def _dump(folder: Path, name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    (folder / name).write_bytes(little.tobytes())
    return {"file": name, "dtype": array.dtype.name, "shape": list(array.shape)}
