"""Takes a float ONNX file that somebody else exported into the form that the later stages take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from edgetransfer.agent.outputs import Outputs
from edgetransfer.errors import EdgeTransferError, SpecError, first_line
from edgetransfer.graph.clean import clean, to_supported_opset
from edgetransfer.graph.finished import STANDARD, inner_graphs
from edgetransfer.graph.hosted import alone, open_here, parity, run_each
from edgetransfer.spec.outside import Kind, printable, refuse_no_file, some
from edgetransfer.tasks.classification.judge.metrics import LOGITS, changed_outputs
from edgetransfer.tasks.classification.own.softmax import OUTPUT, with_logits

if TYPE_CHECKING:
    from edgetransfer.agent.runtimes.onnxruntime import OnnxSession

_INTEGER_TYPES = {
    onnx.TensorProto.DataType.Value(name)
    for name in ("INT8", "UINT8", "INT4", "UINT4", "FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT4E2M1")
}
_INTEGERS = re.compile("(?i:quantizelinear)|^QLinear|Integer$")
"""Kinds of operators that compute in integers."""
_A_FEW = 64
"""Elements that a constant of 8-bit integers may have and be no weight."""
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"}
_RUNTIME_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}
Array = np.ndarray[Any, Any]


def take(
    file: Path, batches: Sequence[dict[str, Any]], classes: int
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Read, check and clean an ONNX classifier.

    Inputs are matched to the contract's by name where the names are the same, else by order. A
    picture input with its channels last is turned. Where the file ends in what makes shares of
    logits, the logits are taken: calibration, drift and every softmax after it are of them.

    Batches are prepared real examples, [1, ...] by input name. Returned are the clean graph with
    the contract's input names and ``logits`` as its output, and the record of its parity with the
    file; its ``notes`` say in words what was changed. SpecError where it is no float classifier of
    that many classes with the contract's inputs, StageError of operators too old or too new.
    """
    model = _read(file)
    with _refusing(file, "ONNX Runtime cannot load the model"):
        session = open_here(str(file))
    renamed, turned = _matched(file, session, batches[0])
    run = partial(_outputs, file, session, renamed, turned)
    said = run(batches)
    _check_outputs(file, said, classes)
    named = to_supported_opset(_with_names(model, renamed, turned=turned))
    named, expected, notes = with_logits(named, said, batches)
    graph = clean(named)
    inputs = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    record = _proof(expected, graph, inputs, file)
    one = alone(inputs)
    told = run_each(open_here(named), [one])[LOGITS] if notes else run([one])
    _proof(told, graph, one, file, record["range"])
    if turned:
        notes.append("the file takes pictures with the channels last: they are turned in the graph")
    return graph, {**record, **({"notes": notes} if notes else {})}


_FILE = Kind("ONNX file", 1 << 46, SpecError)
_ANY_LENGTH = "texts are of any length: export it with a free second axis"


@contextmanager
def _refusing(file: Path, what: str, fix: str | None = None) -> Iterator[None]:
    """Refuse the file where protobuf, the checker or the runtime raises a kind of its own."""
    try:
        yield
    except EdgeTransferError:
        raise
    except Exception as error:
        where = printable(str(file))
        raise SpecError(what, where=where, found=first_line(error), fix=fix) from error


def _read(file: Path) -> onnx.ModelProto:
    refuse_no_file(file, _FILE)
    with _refusing(file, "not a valid ONNX file"):
        model = onnx.load(file)
        onnx.checker.check_model(model)
    nodes = [*model.graph.node, *(node for each in model.functions for node in each.node)]
    nodes += [node for graph in inner_graphs(nodes) for node in graph.node]
    _refuse_foreign(file, model, nodes)
    _refuse_integers(file, model, nodes)
    _refuse_chance(file, model, nodes)
    return model


def _refuse_foreign(file: Path, model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Allow standard operators and functions that the file itself spells in them, nothing else.

    Operators of one runtime are what its optimiser writes for the processor it ran on, what its
    quantiser writes, or what other runtimes do not have: none of them is a float reference.
    """
    own = {(function.domain, function.name) for function in model.functions}
    foreign = sorted(
        {
            f"{node.domain}:{node.op_type}"
            for node in nodes
            if node.domain not in STANDARD and (node.domain, node.op_type) not in own
        }
    )
    if not foreign:
        return
    raise SpecError(
        "the model holds operators that are not standard ONNX",
        where=str(file),
        found=some(foreign),
        expected="operators of the domain ai.onnx only, which every target's runtime has",
        fix="export the float model without optimising or quantising it: a file that ONNX Runtime "
        "optimised or quantised is for the machine and the runtime that it was made on"
        if any(each.startswith("com.") for each in foreign)
        else "export the network alone, without what prepares its input or sorts its output",
    )


def _refuse_integers(file: Path, model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    found = {node.op_type for node in nodes if _INTEGERS.search(node.op_type)}
    constants = [a.t for node in nodes for a in node.attribute if a.HasField("t")]
    for tensor in (*model.graph.initializer, *constants):
        if tensor.data_type in _INTEGER_TYPES and np.prod(tensor.dims, dtype=np.int64) > _A_FEW:
            kind = onnx.TensorProto.DataType.Name(tensor.data_type)
            found.add(f"weights of {kind}")
    if found:
        raise SpecError(
            "the model is quantised already",
            where=str(file),
            found=", ".join(sorted(found)),
            expected="the float model: the drop is measured against it",
        )


def _refuse_chance(file: Path, model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Name what makes every run another: it was exported while it was being trained."""
    true = {
        t.name for t in model.graph.initializer if not t.dims and any(t.raw_data or t.int32_data)
    }
    for node in nodes:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.HasField("t") and any(attribute.t.raw_data or attribute.t.int32_data):
                true.add(node.output[0])
    found = set()
    for node in nodes:
        flags = {a.name: a.i for a in node.attribute}
        if node.op_type == "Dropout":
            training = flags.get("is_test") == 0 or (len(node.input) > 2 and node.input[2] in true)
        else:
            training = node.op_type == "BatchNormalization" and (
                flags.get("training_mode") == 1 or flags.get("is_test") == 0
            )
        if training:
            found.add(f"{node.op_type} in training mode")
        elif node.op_type in _RANDOM:
            found.add(node.op_type)
    if found:
        raise SpecError(
            "the model does not give the same answer twice, or not for one example as for many",
            where=str(file),
            found=", ".join(sorted(found)),
            fix="call model.eval() and export it again, with training=TrainingMode.EVAL",
        )


def _matched(
    file: Path, session: OnnxSession, batch: Mapping[str, Array]
) -> tuple[dict[str, str], bool]:
    """Match the file's inputs with the contract's, and tell whether its channels come last."""
    names = list(batch)
    if len(session.input_names) != len(names):
        raise SpecError(
            "the inputs are not those of the contract",
            where=str(file),
            found=", ".join(f"{n} {session.input_shapes[n]}" for n in session.input_names),
            expected=", ".join(f"{n} {list(batch[n].shape)}" for n in names),
        )
    same = set(session.input_names) == set(names)
    ordered = session.input_names if same else names
    renamed = dict(zip(session.input_names, ordered, strict=True))
    turned = False
    for port in session.ports()["inputs"]:
        array = batch[renamed[port["name"]]]
        picture = array.ndim == 4
        shape = port["shape"]
        turned = picture and len(shape) == 4 and shape[3] == 3 and shape[1] != 3
        prepared = np.moveaxis(array, 1, 3) if turned else array
        wrong = _wrong_port(port["type"], shape, prepared)
        if wrong is not None:
            wanted = ["N", *array.shape[1:]] if picture else ["N", "length"]
            raise SpecError(
                wrong[0],
                where=str(file),
                found=f"{port['name']}: {port['type']} {shape}",
                expected=f"{_RUNTIME_TYPES.get(array.dtype.name)} {wanted}",
                fix=wrong[1],
            )
    return renamed, turned


def _wrong_port(kind: str, shape: Sequence[object], array: Array) -> tuple[str, str] | None:
    """Return what is wrong with an input, and what to do; None where `array` can be fed."""
    if kind != _RUNTIME_TYPES.get(array.dtype.name, kind):
        return (
            "the model takes numbers of another type than the contract prepares",
            "export it with inputs of that type: the contract rescales and normalises in float32",
        )
    fixed = [size if isinstance(size, int) else None for size in shape]
    if len(fixed) != array.ndim:
        return (
            "the model's input has another number of axes than the contract prepares",
            "export the classifier with one axis for the examples",
        )
    if fixed[0] is not None and fixed[0] != 1:
        return (
            f"the model takes {fixed[0]} examples at a time only",
            "export it again with a dynamic first axis",
        )
    if array.ndim != 4:
        if fixed[1] in (None, array.shape[1]):
            return None
        return "the model takes texts of one length only", _ANY_LENGTH
    if all(want in (None, has) for want, has in zip(fixed[1:], array.shape[1:], strict=True)):
        return None
    if 1 in (fixed[1], fixed[3]):
        return (
            "the model takes grey pictures, and the contract prepares red, green and blue",
            "put the conversion to grey into the file, before its first layer",
        )
    axis = 3 if array.shape[3] == 3 else 1
    if fixed[axis] not in (None, 3):
        return (
            f"the model takes {fixed[axis]} channels, and the contract prepares 3",
            "export the classifier of pictures with an input of red, green and blue",
        )
    return (
        "the model takes pictures of another size than the contract prepares",
        'set "exact" or "crop" in preprocess.json to the [height, width] of the model',
    )


def _outputs(
    file: Path,
    session: OnnxSession,
    renamed: Mapping[str, str],
    turned: bool,
    batches: Sequence[dict[str, Any]],
) -> Array:
    """Run the file as it is, by its own names of inputs and, where turned, order of axes."""
    rows = []
    for batch in batches:
        fed = {old: batch[new] for old, new in renamed.items()}
        if turned:
            fed = {k: np.ascontiguousarray(np.moveaxis(v, 1, 3)) for k, v in fed.items()}
        fix = _ANY_LENGTH if "attention_mask" in batch else None
        with _refusing(file, "the model does not run on what the contract prepares", fix):
            rows.append(session.run(fed)[0])
    return np.concatenate(rows)


def _check_outputs(file: Path, said: Array, classes: int) -> None:
    if said.shape[1:] != (classes,) or said.dtype.kind != "f":
        one = said.shape[1:] in ((), (1,)) and classes == 2 and said.dtype.kind == "f"
        raise SpecError(
            "the first output is not one number a class",
            where=str(file),
            found=f"shape {list(said.shape[1:])} for {classes} labels"
            + ("" if said.dtype.kind == "f" else f", of {said.dtype}"),
            fix="end the network in two outputs, one a class: of a single output z before its "
            "sigmoid they are 0 and z"
            if one
            else None,
        )
    refuse_no_answers(said, str(file))


def refuse_no_answers(said: Array, where: str) -> None:
    """Raise a SpecError where outputs on real examples, float [N, C], say nothing.

    They are NaN, or the same whatever the example is.
    """
    bad = int(np.isnan(said).any(axis=1).sum())
    if bad:
        raise SpecError(
            "the model's outputs are not numbers",
            where=where,
            found=f"NaN for {bad} of {len(said)} examples",
            fix="look for a division by zero, or for weights that are NaN, in the model itself",
        )
    if len(said) > 1 and bool((said == said[0]).all()):
        raise SpecError(
            "the model gives the same answer for every example",
            where=where,
            found=f"{', '.join(f'{each:.3g}' for each in said[0, :5])} for {len(said)} examples",
            fix="look for weights that are zero, or for a contract that makes all inputs alike",
        )


def _proof(
    expected: Array,
    graph: onnx.ModelProto,
    inputs: Mapping[str, Array],
    file: Path,
    span: float | None = None,
) -> dict[str, Any]:
    fix = "export it again with a dynamic first axis"
    spans = None if span is None else {LOGITS: span}
    with _refusing(file, "the model runs on one example at a time only", fix):
        return parity(Outputs({LOGITS: expected}), graph, inputs, spans, changed_outputs)


def _with_names(
    model: onnx.ModelProto, renamed: Mapping[str, str], *, turned: bool
) -> onnx.ModelProto:
    """Rename inputs to the contract's and the first output to ``logits``; free the first axis."""
    whole = ir.from_proto(model)
    graph = whole.graph
    del graph.outputs[1:]
    output = graph.outputs[0]
    inner = [value for node in graph.all_nodes() for value in node.outputs if value is not output]
    weights = list(graph.initializers.values())
    for value in inner:
        value.shape = None  # as exported it may say that the first axis is 1
    for value in [*inner, *weights]:
        if value.name in (*renamed.values(), OUTPUT):
            value.name = f"own/{value.name}"
    inputs = [value for value in graph.inputs if value.name in renamed and value not in weights]
    for value, name in [*((each, renamed[each.name or ""]) for each in inputs), (output, OUTPUT)]:
        value.name = name
        value.shape = ir.Shape(["batch", *list(value.shape or [None])[1:]])
    if turned:
        _turn(graph, inputs[0])
    return ir.to_proto(whole)


def _turn(graph: ir.Graph, picture: ir.Value) -> None:
    """Let an input with its channels last come with its channels first."""
    batch, height, width, channels = list(picture.shape or [])
    first = ir.Value(
        name=picture.name, type=picture.type, shape=ir.Shape([batch, channels, height, width])
    )
    picture.name = "own/channels_last"
    graph.inputs[graph.inputs.index(picture)] = first
    node = ir.Node("", "Transpose", [first], [ir.AttrInt64s("perm", [0, 2, 3, 1])])
    graph.insert_before(graph[0], node)
    for use in list(picture.uses()):
        use.node.replace_input_with(use.idx, node.outputs[0])
