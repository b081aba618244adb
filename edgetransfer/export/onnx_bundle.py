"""Writes the files of an ONNX bundle: models, contract, labels, golden vectors, agent.

Beside them is what Hugging Face's libraries ask of a folder, with the one model whose input has the
name that optimum feeds.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from edgetransfer.bundle.agent_archive import pack_agent
from edgetransfer.bundle.files import canonical_json, digest_of, write_json
from edgetransfer.bundle.opened import FITTED_ON, MEASURE, STORED_AS
from edgetransfer.bundle.readers import DESCRIPTION
from edgetransfer.export.golden import OTHERS, write_golden
from edgetransfer.export.tensorrt import write_for_tensorrt
from edgetransfer.graph.embed import ports, whole_model
from edgetransfer.graph.finished import finished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
    from edgetransfer.spec.target import TargetSpec

CONFIG, PICTURES = "config.json", "preprocessor_config.json"
FOLDER, PIXELS = "optimum", "pixel_values"
"""Where optimum's picture classifier finds the network, and what it calls the input."""


def write_transformers_files(
    folder: Path,
    config: Mapping[str, Any],
    labels: Sequence[str],
    preprocessing: ImagePreprocessing | TextPreprocessing,
) -> None:
    """Write ``config.json`` and, for pictures, ``preprocessor_config.json``.

    `config` is ``config.json`` of the backbone in transformers' form, labels are in the order of
    the logits, and the second file says the contract in transformers' words.
    """
    # The graph has another head than the backbone's own class would make.
    kept = {key: value for key, value in config.items() if key not in ("architectures", "auto_map")}
    names = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }
    write_json(folder / CONFIG, {**kept, **names})
    if told := preprocessing.transformers():
        write_json(folder / PICTURES, told)


def write_picture_classifier(
    folder: Path,
    core: onnx.ModelProto,
    config: Mapping[str, Any],
    labels: Sequence[str],
    preprocessing: ImagePreprocessing | TextPreprocessing,
) -> None:
    """Write ``optimum/``, which `ORTModelForImageClassification` opens.

    It feeds prepared tensors, and by the name ``pixel_values`` only: so the folder holds
    ``core.onnx`` with its input called that, beside copies of the two files.
    """
    within = folder / FOLDER
    within.mkdir()
    model = ir.from_proto(core)
    model.graph.inputs[0].name = PIXELS
    onnx.save(finished(ir.to_proto(model), "export"), within / "model.onnx")
    write_transformers_files(within, config, labels, preprocessing)


TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class BundleParts:
    """What a bundle is made of.

    The network is shipped as `core`; the reference is the float one. `golden` are examples whose
    inputs and outputs travel with the bundle, none of the test set; `fitted_on` digests of the
    examples of train and validation, so that `bench` notices them. `more` are files of the task, by
    their names in the bundle, `formats` those for other runtimes, `outputs` what each output means,
    and `said` what else stands in the metadata of ``model.onnx``; ``config.json`` of the backbone
    is None where it has none in transformers' form.
    """

    reference: onnx.ModelProto
    core: onnx.ModelProto
    preprocessing: ImagePreprocessing | TextPreprocessing
    tokenizer: Path | None
    labels: tuple[str, ...]
    golden: Sequence[Example]
    fitted_on: Iterable[str] = ()
    more: Mapping[str, Path] = field(default_factory=dict)
    formats: Mapping[str, Path] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    target: TargetSpec | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    said: Mapping[str, str] = field(default_factory=dict)


def one_at_a_time(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model for a batch of one: with a picture of one size, every shape is static."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for port in (*fixed.graph.input, *fixed.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    return finished(fixed, "export")


def described(model: onnx.ModelProto, parts: BundleParts, others: Path) -> onnx.ModelProto:
    """Return ``model.onnx`` with what it says of itself in ``metadata_props``.

    It is for whoever has this file alone; `bundle.readers.read_description` reads it back. The
    other networks lie in the folder `others` already, where they are files of their own.
    """
    static = parts.target is not None and parts.target.static_shapes
    taken = ports(parts.preprocessing, 1 if static else "batch", whole=True)
    said = {
        "version": version("edgetransfer"),
        "task": parts.task,
        "labels": canonical_json(parts.labels),
        "inputs": canonical_json({name: {"type": t, "shape": s} for name, t, s in taken}),
        "before": parts.preprocessing.before,
        "inside": parts.preprocessing.inside,
        "outputs": canonical_json(dict(parts.outputs)),
        **parts.said,
        **{name: digest_of(file) for name in OTHERS if (file := others / f"{name}.onnx").is_file()},
    }
    return _with_metadata(model, {f"{DESCRIPTION}{key}": value for key, value in said.items()})


def _with_metadata(model: onnx.ModelProto, said: Mapping[str, str]) -> onnx.ModelProto:
    """Return a copy that says this in place of what we wrote into it before."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    theirs = (each for each in model.metadata_props if not each.key.startswith(DESCRIPTION))
    onnx.helper.set_model_props(copy, {**{each.key: each.value for each in theirs}, **said})
    return copy


def write_models(folder: Path, others: Path, parts: BundleParts) -> dict[str, str]:
    """Write the networks, none twice; return which file stands for one that has the same bytes.

    All but ``model.onnx`` go into the folder `others`.
    """
    static = parts.target is not None and parts.target.static_shapes
    whole = whole_model(parts.core, parts.preprocessing)
    alone = whole is parts.core
    core, whole = (one_at_a_time(each) if static else each for each in (parts.core, whole))
    plain = {"core": _with_metadata(core, {}), "reference": _with_metadata(parts.reference, {})}
    for name, model in plain.items():
        onnx.save(model, others / f"{name}.onnx")
    same = digest_of(others / "core.onnx") == digest_of(others / "reference.onnx")
    stored = {"core.onnx": "model.onnx"} if alone else {}
    if same:
        stored["reference.onnx"] = "model.onnx" if alone else "core.onnx"
    for name in stored:
        (others / name).unlink()
    onnx.save(described(whole, parts, others), folder / "model.onnx")
    return stored


def write_bundle(folder: Path, parts: BundleParts, prepare: Preparer) -> dict[str, Any]:
    """Write every file but the manifest and the report into an empty folder.

    What an app does not need goes into `MEASURE`, but the networks where an engine is built of one.
    Return what the manifest says of the files that are not stored twice.
    """
    measures = folder / MEASURE
    measures.mkdir()
    runtime = None if parts.target is None else parts.target.runtime
    engine = runtime is not None and runtime.builds_engines
    others = folder if engine else measures
    stored = write_models(folder, others, parts)
    networks = ("model.onnx", *(f"{each}.onnx" for each in OTHERS))
    names = {each: stored.get(each, each) for each in networks}
    lies = {"model.onnx": folder, "core.onnx": others, "reference.onnx": others}
    files = {name: lies[file] / file for name, file in names.items()}
    (folder / "labels.txt").write_text("\n".join(parts.labels) + "\n", encoding="utf-8")
    contract = parts.preprocessing.model_dump(mode="json")
    if parts.tokenizer is not None:
        shutil.copyfile(parts.tokenizer, folder / TOKENIZER)
        contract["tokenizer"] = TOKENIZER
    write_json(folder / "preprocess.json", contract)
    if parts.config is not None:
        write_transformers_files(folder, parts.config, parts.labels, parts.preprocessing)
        if parts.preprocessing.in_graph:
            write_picture_classifier(
                folder, parts.core, parts.config, parts.labels, parts.preprocessing
            )
    digests = sorted(set(parts.fitted_on))
    (measures / FITTED_ON).write_text("".join(f"{each}\n" for each in digests), encoding="utf-8")
    for name, file in parts.more.items():
        shutil.copyfile(file, measures / name)
    for name, file in parts.formats.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, folder / name)
    if parts.target is not None and engine:
        core = files["core.onnx"].name
        write_for_tensorrt(folder, parts.core, parts.preprocessing, parts.target, core)
    pack_agent(measures / "agent.pyz")
    write_golden(measures / "golden", files, parts.golden, prepare)
    return {STORED_AS: stored} if stored else {}
