"""`--fit none`: somebody's fitted model, measured as it is."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

import edgetransfer
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.errors import DataError, MissingExtraError, SpecError, StageError
from edgetransfer.pipeline.api import predict
from edgetransfer.tasks.classification.own import own_model

transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")


@pytest.fixture
def own(built, tmp_path):
    """The float network of a build, renamed and kept as another exporter would leave it."""
    folder = built.folders["this-machine"]
    model = onnx.load(folder / "measure/reference.onnx")
    for node in model.graph.node:
        node.input[:] = ["x" if name == "input" else name for name in node.input]
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    model.graph.input[0].name = "x"
    model.graph.output[0].name = "scores"
    onnx.save(model, tmp_path / "mine.onnx")
    for name in ("preprocess.json", "labels.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path / "mine.onnx"


def measure(own, pictures, cache, tmp_path):
    return edgetransfer.build(
        pictures, backbone=str(own), fit="none", precision="w8a8",
        out=tmp_path / "out", cache=cache, timing="quick",
    )  # fmt: skip


def test_c2_an_onnx_file_is_quantised_and_judged(own, built, pictures, cache, tmp_path):
    """Fault C2: it ends in Softmax, which was taken for logits: SQNR and shares were of shares."""
    model = onnx.load(own)
    model.graph.node.append(onnx.helper.make_node("Softmax", ["scores"], ["shares"], axis=1))
    model.graph.output[0].name = "shares"
    onnx.save(model, own)
    outcome = measure(own, pictures, cache, tmp_path)
    report = outcome.reports["this-machine"]
    same = built.reports["this-machine"]
    assert report["accuracy"]["reference"] == same["accuracy"]["reference"]
    assert report["residency"]["float_conv"] == 0
    assert "the file ends in Softmax: the logits before it are taken" in outcome.notes
    picture = str(next(pictures.glob("test/disc/*.png")))
    (said,) = predict(outcome.folders["this-machine"], [picture])
    (meant,) = predict(built.folders["this-machine"], [picture])
    assert dict(said.best) == pytest.approx(dict(meant.best), abs=0.1)


def test_an_onnx_file_needs_its_contract(own, pictures, cache, tmp_path):
    (own.parent / "preprocess.json").unlink()
    with pytest.raises(SpecError) as error:
        measure(own, pictures, cache, tmp_path)
    assert str(error.value) == (
        f"--backbone {own}: an .onnx file needs preprocess.json beside it\n"
        "  expected: preprocess.json (the contract, see docs/own-model.md) and labels.txt "
        "(one class a line, in the order of the outputs)"
    )


def test_an_onnx_file_cannot_be_fitted(own, pictures, cache, tmp_path):
    with pytest.raises(SpecError) as error:
        edgetransfer.build(pictures, backbone=str(own), out=tmp_path / "out", cache=cache)
    assert str(error.value) == (
        f"--backbone {own}: an .onnx file cannot be fitted\n"
        "  fix: add --fit none to measure it as it is, or give the trainable weights"
    )


def test_classes_that_the_model_does_not_know(own, pictures, cache, tmp_path):
    (own.parent / "labels.txt").write_text("disc\nsquare\ntriangle\n")
    with pytest.raises(DataError) as error:
        measure(own, pictures, cache, tmp_path)
    assert str(error.value) == (
        f"{pictures}: the data has classes that the model does not know\n"
        "  found: stripes\n"
        "  expected: disc, square, triangle"
    )


def test_a_fitted_transformers_folder(pictures, cache, tmp_path):
    import torch

    torch.manual_seed(0)
    labels = dict(enumerate(("stripes", "disc", "square", "other")))
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic",
        id2label=labels, label2id={name: index for index, name in labels.items()},
    )  # fmt: skip
    folder = tmp_path / "fitted"
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    contract = {
        "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "resample": 2,
        "do_center_crop": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(contract))
    outcome = measure(folder, pictures, cache, tmp_path)
    bundle = outcome.folders["this-machine"]
    assert (bundle / "labels.txt").read_text().split() == ["stripes", "disc", "square", "other"]
    logits = OnnxSession(str(bundle / "measure/reference.onnx")).run(
        {"input": np.zeros((2, 3, 32, 32), np.float32)}
    )[0]
    assert logits.shape == (2, 4)


@pytest.fixture
def refused(monkeypatch):
    """Ask for a network that torch cannot export, of an optimum that answers with an error."""
    refusal = StageError("torch could not export the network to ONNX", where="Net", found="why")

    def ask(answer):
        def export(*_):
            raise answer

        monkeypatch.setattr(own_model, "export", export)
        source = SimpleNamespace(path=None, asked="--backbone ./mine")
        model = SimpleNamespace(network=object(), labels=())
        with pytest.raises(StageError) as caught:
            own_model._by_optimum(source, "text", model, {}, refusal)
        return caught.value

    return lambda answer: (ask(answer), refusal)


def test_without_optimum_torch_has_the_last_word(refused):
    error, refusal = refused(MissingExtraError("optimum-onnx", "optimum", purpose="exporting"))
    assert error is refusal


def test_what_neither_exports(refused):
    error, _ = refused(StageError("optimum could not", where="trace", found="ValueError: no"))
    assert str(error) == (
        "--backbone ./mine: neither torch nor optimum could export the network to ONNX\n"
        "  found: Net: torch could not export the network to ONNX, found: why; "
        "trace: optimum could not, found: ValueError: no\n"
        "  fix: export it yourself and give the .onnx file with --backbone FILE --fit none"
    )
