"""Short texts, end to end, with a tiny random encoder."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import edgetransfer
from edgetransfer.bundle.files import read_json
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.compress.smoothing import SHARES
from edgetransfer.data import sources
from edgetransfer.errors import SpecError
from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.prepare import preparer
from edgetransfer.measure.drift import sqnr_db
from edgetransfer.pipeline.contrasting import refuse_what_it_cannot
from edgetransfer.pipeline.predict import predict
from edgetransfer.spec.recipe import DataSpec

transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
WORDS = {
    "weather": ["rain", "sun", "wind", "cloud", "storm", "snow", "warm", "cold"],
    "food": ["bread", "soup", "rice", "fish", "salt", "oven", "plate", "fork"],
    "money": ["bank", "coin", "price", "cash", "loan", "card", "debt", "tax"],
}
COMMON = ["the", "a", "is", "of", "and", "today", "very", "some"]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """A random BERT: its residual stream carries the word embeddings, so words differ."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COMMON, *(w for ws in WORDS.values() for w in ws)]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = ["text,label,split,source"]
    for split, count in (("train", 30), ("validation", 10), ("test", 40)):
        for label, words in WORDS.items():
            for index in range(count):
                picked = [*rng.choice(words, 2), *rng.choice(COMMON, rng.integers(1, 9))]
                rows.append(f"{' '.join(rng.permutation(picked))} {index},{label},{split},web")
    file = tmp_path_factory.mktemp("texts") / "texts.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.fixture(scope="module")
def outcome(texts, encoder, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return edgetransfer.build(
        texts, backbone=str(encoder), precision="w8a8", out=out, cache=cache, timing="quick"
    )


def test_texts_end_on_a_verdict(outcome):
    report = outcome.reports["this-machine"]
    assert report["accuracy"]["n"] == 120
    assert report["accuracy"]["reference"] > 0.8
    assert report["agreement"]["rate"] > 0.9
    assert report["latency"]["candidate"]["p50_ms"] > 0
    assert report["end_to_end"]["candidate"]["p50_ms"] is None


def test_the_bundle_carries_tokenizer_and_golden_tokens(outcome):
    folder = outcome.folders["this-machine"]
    assert (folder / "tokenizer.json").is_file()
    case = read_json(folder / "golden" / "index.json")["cases"][0]
    file = case["prepared"]["input_ids"]
    ids = np.fromfile(folder / "golden" / file["file"], "<i8").reshape(file["shape"])
    assert (ids[0], ids[-1]) == (2, 3)


def test_rungs_are_judged_text_by_text_as_the_device_runs_them(outcome, texts):
    folder = outcome.folders["this-machine"]
    bundle = open_bundle(folder)
    prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
    examples = sources.load(DataSpec(source=str(texts)), seed=0).split("validation")
    reference, shipped = (
        np.concatenate(
            [open_here(folder / name).run(prepare.prepare(each))[0] for each in examples]
        )
        for name in ("reference.onnx", "core.onnx")
    )
    (row,) = [each for each in outcome.reports["this-machine"]["ladder"] if each["shipped"]]
    assert row["examples"] == len(examples) == 30
    assert row["sqnr_db"] == pytest.approx(sqnr_db(reference, shipped), abs=1e-3)


def test_both_rungs_of_texts_are_tried(outcome):
    plain, smoothed = outcome.reports["this-machine"]["ladder"]
    assert plain["rung"] == "8-bit weights, scales as they come"
    assert smoothed["rung"] == "8-bit weights, activations smoothed, scales as they come"
    assert smoothed["smoothing"] in SHARES


def test_integer_kernels_compute_what_the_integers_mean(outcome):
    (gate,) = [g for g in outcome.reports["this-machine"]["gates"] if g["name"] == "fusion"]
    assert gate["status"] == "PASS"
    assert gate["measured"] > 40


def test_prediction_reads_the_words(outcome):
    found = predict(outcome.folders["this-machine"], ["very warm rain today", "bread and soup"])
    assert [each.best[0][0] for each in found] == ["weather", "food"]


def test_a_text_that_is_empty(outcome, command, tmp_path):
    bundle = outcome.folders["this-machine"]
    code, _, told = command("predict", bundle, "bread and soup", " ")
    assert (code, told) == (4, "error: INPUT: empty text\n")
    code, _, told = command("add-class", bundle, "thanks", "very", "", "--out", tmp_path / "four")
    assert code == 4
    assert told.endswith("error: '': empty text\n")


def test_a_class_is_added_from_texts(outcome, command, tmp_path):
    words = ("add-class", outcome.folders["this-machine"], "thanks", "--out", tmp_path / "four")
    code, told, _ = command(*words, "the very", "very", "the the very", "very very", "--json")
    assert (code, json.loads(told)["examples"]) == (0, 4)
    found = predict(tmp_path / "four", ["very the very", "rain and cold wind", "soup of salt fish"])
    assert [each.best[0][0] for each in found] == ["thanks", "weather", "food"]


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
    better = fit["contrastive"]["log_loss"] < fit["probe"]["log_loss"]
    assert fit["moved"] is better
    gained = fit["names"]["gain"]
    assert fit["names"]["heard"] is (gained["ci95"][0] > 0 and gained["accuracy"] >= 0)
    kept = fit["contrastive" if better else "probe"]
    assert fit["validation_accuracy"] == kept["accuracy"]


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
        refuse_what_it_cannot(run, SimpleNamespace(modality="text"))
    assert str(caught.value) == (
        "--device mps: contrastive fine-tuning was not tried there\n"
        "  expected: cuda or cpu\n"
        "  fix: leave --device out, or take --fit finetune"
    )


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    """Texts without labels, and one of the labelled set's."""
    rng = np.random.default_rng(7)
    lines = [
        " ".join(rng.permutation([*rng.choice(words, 2), *rng.choice(COMMON, 4)]))
        for words in WORDS.values()
        for _ in range(40)
    ]
    file = tmp_path_factory.mktemp("more") / "more.txt"
    file.write_text("\n".join(dict.fromkeys(lines)) + "\n")
    return file


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
    assert told["judged"] == (30 if moved else 120)  # validation, and train where it can be
    assert outcome.reports["this-machine"]["accuracy"]["reference"] > 0.8
    fitted_on = (folder / "fitted_on.txt").read_text().splitlines()
    assert len(fitted_on) == 120 + lines * told["gain"]["proven"]


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

    graph = onnx.load(folder / "core.onnx", load_external_data=False).graph
    return [(node.op_type, len(node.input)) for node in graph.node]


def test_low_rank_adapters(low_rank):
    assert low_rank.reports["this-machine"]["accuracy"]["reference"] > 0.8
    fit = read_json(low_rank.folders["this-machine"] / "manifest.json")["fit"]
    assert (fit["method"], fit["schedule"]["technique"]["rank"]) == ("lora", 8)
    losses = [loss for loss, _ in fit["history"]]
    assert losses.index(min(losses)) == fit["best_epoch"]
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
