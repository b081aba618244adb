"""The trace stage: a fitted torch network becomes a float ONNX graph, with proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.agent.outputs import Outputs
from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.errors import EdgeTransferError, StageError, first_line, let_stop
from edgetransfer.graph.prepare import Batch, Preparer, free_axes, preparer
from edgetransfer.pipeline.graphs import FittedGraph
from edgetransfer.pipeline.stage.stage import Stage, StageResult

if TYPE_CHECKING:
    from torch import nn

    from edgetransfer.backbone.model import Backbone, FittedModel, LinearHead
    from edgetransfer.graph.hosted import Changed
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

Prove = Callable[[Batch], tuple[onnx.ModelProto, dict[str, Any]]]
FEATURES = "features"
EXPORTERS = ("transformers", "timm", "optimum", "optimum-onnx")
"""Libraries whose networks are traced, or that trace them, without an import from here."""
PARITY_EXAMPLES = 16
"""Real examples on which the graph is compared with the network."""


def proving_examples(manifest: Manifest) -> Sequence[Example]:
    """Choose the examples that a graph is proven on."""
    return (manifest.split("train") or manifest.examples)[:PARITY_EXAMPLES]


def proving_batch(manifest: Manifest, prepare: Preparer) -> Batch:
    """Prepare the examples that a graph is proven on."""
    examples = proving_examples(manifest)
    return prepare.join([prepare.prepare(example) for example in examples])


def traced(
    network: nn.Module,
    inputs: Batch,
    outputs: Sequence[str] = (FEATURES,),
    changed: Changed | None = None,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Trace a network and prove on real examples that the graph computes the same.

    `outputs` is what the graph's are called, `changed` as in `parity`.
    """
    from edgetransfer.graph.trace import Signature, trace

    few = [array[:2] for array in inputs.values()]
    graph = trace(network, few, Signature(tuple(inputs), tuple(outputs), free_axes(inputs)))
    return graph, proven(network, graph, inputs, changed)


def headed(
    network: nn.Module,
    head: LinearHead,
    features: Path,
    inputs: Batch,
    output: str,
    changed: Changed | None = None,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Put a linear head on the graph of a frozen backbone, and prove as `traced` does.

    `network` is both in torch. It is not exported anew: that takes longer than to fit the head.
    """
    from edgetransfer.graph.embed import with_head

    graph = with_head(onnx.load(features), head.weight, head.bias, output)
    return graph, proven(network, graph, inputs, changed)


def given_by(network: nn.Module, names: Sequence[str], inputs: Batch) -> Outputs:
    """Run a torch network, whose outputs are called so in the graph."""
    import torch

    with torch.no_grad():
        found = network(*(torch.from_numpy(array) for array in inputs.values()))
    each = found if isinstance(found, tuple | list) else (found,)
    return Outputs({name: array.numpy() for name, array in zip(names, each, strict=True)})


def proven(
    network: nn.Module, graph: onnx.ModelProto, inputs: Batch, changed: Changed | None = None
) -> dict[str, Any]:
    """Prove on real examples, all at once and one alone, that a graph computes what a network does.

    The record of parity on the examples as they are.
    """
    from edgetransfer.graph.hosted import alone, parity, ranges
    from edgetransfer.graph.trace import OTHER_WAYS

    records: list[dict[str, Any]] = []
    spans: dict[str, float] = {}
    for batch in (inputs, alone(inputs)):
        try:
            expected = given_by(network, [each.name for each in graph.graph.output], batch)
            spans = spans or ranges(expected)
            records.append(parity(expected, graph, batch, spans, changed))
        except EdgeTransferError:
            raise
        except Exception as error:  # torch and the runtime raise kinds of their own
            let_stop(error)
            raise StageError(
                "the network, or the graph exported from it, does not run on these examples",
                where="trace",
                found=first_line(error),
                fix=OTHER_WAYS,
            ) from error
    return records[0]


def keep_graph(
    run: Run,
    manifest: Manifest,
    model: Backbone | FittedModel,
    key: str,
    facts: dict[str, Any],
    prove: Prove,
) -> FittedGraph:
    """Run the trace stage for a network whose weights the digest `key` stands for.

    The graph and its parity record are made by `prove`, which depends on nothing but `key`.
    """
    prepare = preparer(model.preprocessing, model.tokenizer)
    kept = _keep(run, manifest, prepare, {"fit": key}, ("float.onnx", prove))
    graph, facts = kept.file("float.onnx"), {**facts, "export": kept.record}
    cut = prepare.cut(manifest.examples)
    notes = (*manifest.notes, *kept.record.get("notes", ()), *((cut,) if cut else ()))
    manifest, of = replace(manifest, notes=notes), (model.preprocessing, model.tokenizer)
    return FittedGraph(manifest, *of, graph, kept.key, facts, config=model.config)


def trace_features(
    run: Run, manifest: Manifest, prepare: Preparer, network: nn.Module, key: str
) -> StageResult:
    """Run the trace stage for a network whose features are asked for: ``features.onnx``."""
    made = "features.onnx", partial(traced, network)
    return _keep(run, manifest, prepare, {"features of": key}, made)


def _keep(
    run: Run, manifest: Manifest, prepare: Preparer, key: dict[str, str], made: tuple[str, Prove]
) -> StageResult:
    file, prove = made

    def make(folder: Path, _: Progress) -> dict[str, Any]:
        graph, proof = prove(proving_batch(manifest, prepare))
        onnx.save(graph, folder / file)
        return proof

    inputs = {**key, "proven_on": content_of(proving_examples(manifest))}
    return run.keep(Stage("trace", inputs, make, _told, packages=EXPORTERS))


def _told(proof: Mapping[str, Any]) -> str:
    return f"equal to the fitted network within {proof['max_abs']:.1e} on {proof['n']} examples"
