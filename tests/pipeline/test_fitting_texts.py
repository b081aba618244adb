"""Every way of fitting texts, end to end, with a tiny random encoder."""

import shutil
from types import SimpleNamespace

import pytest

import edgetransfer
from edgetransfer.bundle.files import read_json
from edgetransfer.errors import SpecError
from edgetransfer.spec.preprocess import TextPreprocessing
from edgetransfer.tasks.classification.fit.text import refuse_what_it_cannot


def test_texts_are_taught_as_they_are(texts, encoder, cache, tmp_path):
    outcome = edgetransfer.build(
        texts, backbone=str(encoder), distill_from=str(encoder), epochs=2, precision="fp32",
        out=tmp_path, cache=cache, timing="quick",
    )  # fmt: skip
    assert outcome.reports["this-machine"]["accuracy"]["reference"] > 0.8
    taught = read_json(outcome.folders["this-machine"] / "manifest.json")["fit"]["distilled"]
    assert (taught["teacher"], taught["views"]) == (str(encoder), 1)


def test_finetuning_a_network_with_tied_weights(texts, encoder, cache, tmp_path):
    """T5's embedding goes by two names, of which safetensors writes one."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=40, d_model=64, d_kv=32, d_ff=64, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    transformers.T5Model(config).save_pretrained(tmp_path / "t5", safe_serialization=True)
    shutil.copy(encoder / "tokenizer.json", tmp_path / "t5")
    outcome = edgetransfer.build(
        texts, backbone=str(tmp_path / "t5"), fit="finetune", epochs=1, precision="fp32",
        out=tmp_path / "built", cache=cache, timing="quick",
    )  # fmt: skip
    assert outcome.reports["this-machine"]["accuracy"]["reference"] > 0.8


@pytest.fixture(scope="module")
def contrasted(texts, encoder, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("contrasted")
    return edgetransfer.build(
        texts, backbone=str(encoder), fit="contrastive", epochs=2, precision="fp32",
        out=out, cache=cache, timing="quick",
    )  # fmt: skip


def test_contrastive_fine_tuning(contrasted):
    assert contrasted.reports["this-machine"]["accuracy"]["reference"] > 0.8
    fit = read_json(contrasted.folders["this-machine"] / "manifest.json")["fit"]
    assert (fit["method"], fit["course"]["epochs"], len(fit["losses"])) == ("contrastive", 2, 2)
    assert fit["moved"] is (fit["gain"]["after"] >= fit["gain"]["before"])
    gained = fit["names"]["gain"]
    assert fit["names"]["heard"] is (gained["after"] - gained["before"] > gained["error"])
    assert fit["held_out"] == {
        "metric": "top1", "value": fit["gain"]["after"], "n": 30, "by": "the validation set"
    }  # fmt: skip
    assert fit["fitted_on"] == "train: 90 examples; validation chose, and was not fitted on"


def test_pictures_are_not_contrasted(pictures, cache, tmp_path):
    with pytest.raises(SpecError) as caught:
        edgetransfer.build(pictures, fit="contrastive", out=tmp_path, cache=cache)
    assert str(caught.value) == (
        "--fit contrastive: contrastive fine-tuning is for texts\n"
        "  found: pictures\n"
        "  fix: take --fit finetune"
    )


def test_contrastive_fine_tuning_names_the_devices_that_it_was_tried_on():
    run = SimpleNamespace(recipe=SimpleNamespace(fit=SimpleNamespace(device="mps")))
    with pytest.raises(SpecError) as caught:
        refuse_what_it_cannot(run, SimpleNamespace(input=TextPreprocessing))
    assert str(caught.value) == (
        "--device mps: contrastive fine-tuning was not tried there\n"
        "  expected: cuda or cpu\n"
        "  fix: leave --device out, or take --fit finetune"
    )


@pytest.mark.parametrize("fit", ["probe", "contrastive"])
def test_the_head_learns_from_texts_without_labels(texts, encoder, more, cache, tmp_path, fit):
    outcome = edgetransfer.build(
        texts, backbone=str(encoder), fit=fit, epochs=1, unlabelled=str(more), soundness=False,
        precision="fp32", out=tmp_path, cache=cache, timing="quick",
    )  # fmt: skip
    folder = outcome.folders["this-machine"]
    fit_record = read_json(folder / "manifest.json")["fit"]
    told, lines = fit_record["self_training"], len(more.read_text().splitlines())
    assert (fit_record["method"], told["unlabelled"]) == (fit, lines)
    assert told["guessed"] == round(0.7 * lines)
    moved = fit_record.get("moved", False)
    assert told["gain"]["n"] == (30 if moved else 120)  # validation, and train where it can be
    assert outcome.reports["this-machine"]["accuracy"]["reference"] > 0.8
    fitted_on = (folder / "measure/fitted_on.txt").read_text().splitlines()
    assert len(fitted_on) == 120 + lines * told["better"]


def test_labels_of_pictures_are_not_guessed(pictures, more, cache, tmp_path):
    with pytest.raises(SpecError) as caught:
        edgetransfer.build(pictures, fit="probe", unlabelled=str(more), out=tmp_path, cache=cache)
    assert str(caught.value) == (
        f"--unlabelled {more}: labels are guessed of texts only\n"
        "  found: pictures\n"
        "  fix: name a teacher with --distill-from, or take --adapt"
    )


@pytest.fixture(scope="module")
def low_rank(texts, encoder, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("low-rank")
    return edgetransfer.build(
        texts, backbone=str(encoder), fit="lora", epochs=2, learning_rate=0.01, precision="fp32",
        out=out, cache=cache, timing="quick",
    )  # fmt: skip


def operators(folder):
    """The nodes of what the device runs, in order."""
    import onnx

    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    return [(node.op_type, len(node.input)) for node in graph.node]


def test_low_rank_adapters(low_rank):
    assert low_rank.reports["this-machine"]["accuracy"]["reference"] > 0.8
    fit = read_json(low_rank.folders["this-machine"] / "manifest.json")["fit"]
    assert (fit["method"], fit["schedule"]["technique"]["rank"]) == ("lora", 8)
    losses, right = zip(*fit["history"], strict=True)
    assert right[fit["best_epoch"]] == max(right)
    assert len(set(losses)) == 3  # the probe's and those of two epochs that moved it


def test_adapters_leave_the_graph_as_the_probe_has_it(low_rank, texts, encoder, cache, tmp_path):
    probe = edgetransfer.build(
        texts, backbone=str(encoder), fit="probe", precision="fp32",
        out=tmp_path, cache=cache, timing="quick",
    )  # fmt: skip
    folders = [each.folders["this-machine"] for each in (low_rank, probe)]
    assert operators(folders[0]) == operators(folders[1])


def test_adapters_need_attention(pictures, cache, tmp_path):
    with pytest.raises(SpecError) as caught:
        edgetransfer.build(pictures, fit="lora", out=tmp_path, cache=cache)
    assert str(caught.value) == (
        "--fit lora: adapters go to attention's query and value projections, and this backbone "
        "has none\n"
        "  found: builtin:tiny-64\n"
        "  expected: a transformers encoder whose query, key and value are layers of their own\n"
        "  fix: take --fit finetune"
    )
