"""Short texts, end to end, with a tiny random encoder."""

import json

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer

import edgetransfer
from edgetransfer.bundle.files import read_json
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.compress.weights import SHARES, to_half
from edgetransfer.data import sources
from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.prepare import preparer
from edgetransfer.measure.drift import sqnr_db
from edgetransfer.measure.trial import Trial
from edgetransfer.pipeline.api import predict
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES
from tests.pipeline.phone import jvm
from tests.pipeline.readme_code import in_node, in_python, printed


@pytest.fixture(scope="module")
def outcome(texts, encoder, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trial, "has_margin", lambda *_: False)
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
    case = read_json(folder / "measure/golden" / "index.json")["cases"][0]
    file = case["prepared"]["input_ids"]
    ids = np.fromfile(folder / "measure/golden" / file["file"], "<i8").reshape(file["shape"])
    assert (ids[0], ids[-1]) == (2, 3)


def test_rungs_are_judged_text_by_text_as_the_device_runs_them(outcome, texts):
    folder = outcome.folders["this-machine"]
    bundle = open_bundle(folder)
    prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
    examples = sources.load(DataSpec(source=str(texts)), CLASSES, seed=0).split("validation")
    reference, shipped = (
        np.concatenate(
            [open_here(bundle.file(name)).run(prepare.prepare(each))[0] for each in examples]
        )
        for name in ("reference.onnx", "core.onnx")
    )
    (row,) = [each for each in outcome.reports["this-machine"]["ladder"] if each["shipped"]]
    assert row["examples"] == len(examples) == 30
    assert row["sqnr_db"] == pytest.approx(sqnr_db(reference, shipped), abs=1e-3)


def test_many_texts_are_shared_among_processes(outcome, texts, tmp_path, monkeypatch):
    monkeypatch.setattr("edgetransfer.pipeline.bench.measure.SHARED", 2)
    shared = edgetransfer.bench(
        outcome.folders["this-machine"], data=str(texts), out=tmp_path, timing="quick"
    )
    alone = outcome.reports["this-machine"]
    for block in ("accuracy", "agreement", "numeric", "confusion", "per_class", "calibration"):
        assert shared[block] == alone[block], block
    assert shared["memory"]["candidate"]["peak_mib"] > 0


def test_an_encoder_fits_into_16_bits_d1(outcome, texts):
    folder = outcome.folders["this-machine"]
    prepare = preparer(open_bundle(folder).preprocessing, folder / "tokenizer.json")
    examples = sources.load(DataSpec(source=str(texts)), CLASSES, seed=0).split("validation")
    fed = [prepare.prepare(each) for each in examples]
    half, wide = to_half(onnx.load(folder / "measure/reference.onnx"), fed)
    assert wide  # the mask holds the lowest float
    expected, found = (
        np.concatenate([open_here(model).run(each)[0] for each in fed])
        for model in (folder / "measure/reference.onnx", half)
    )
    assert sqnr_db(expected, found) > 40


def test_both_rungs_of_texts_are_tried_where_the_first_has_no_margin(outcome):
    smoothed, plain = outcome.reports["this-machine"]["ladder"]
    assert plain["rung"] == "8-bit weights, scales as they come"
    assert smoothed["rung"] == "8-bit weights, activations smoothed, scales as they come"
    assert smoothed["smoothing"] in SHARES


@pytest.mark.parametrize(
    ("most", "options", "precisions", "shipped"),
    [
        (0.01, {}, ["w8a8"], "w8a8"),
        (0.01, {"min_sqnr": 100.0}, ["w8a8", "w8a8", "fp32"], "fp32"),  # what no 8 bits reach
        (16, {}, ["fp32"], "fp32"),
        (0.01, {"precision": "fp32"}, ["fp32"], "fp32"),
    ],
)
def test_where_download_counts_8_bits_ship_that_lose_nothing_to_be_shown(
    texts, encoder, cache, tmp_path, most, options, precisions, shipped
):
    """Floats of 86 MiB were shipped to browsers where 8 bits changed 0 of 87 decisions."""
    (tmp_path / "web.toml").write_text(
        f'name = "web"\ntitle = "Web"\nextends = "web-wasm"\nlargest_download_mib = {most}\n'
        '[evidence]\nstatus = "declared"\nsource = "a test"\ndate = "2026-11-30"\n'
    )
    outcome = edgetransfer.build(
        texts, target=str(tmp_path / "web.toml"), backbone=str(encoder), fit="probe",
        cache=cache, out=tmp_path / "out", soundness=False, **options,
    )  # fmt: skip
    report = outcome.reports["web"]
    ladder = report["ladder"]
    assert list(dict.fromkeys(row["precision"] for row in ladder)) == list(
        dict.fromkeys(precisions)
    )
    (chosen,) = (row for row in ladder if row["shipped"])
    assert (chosen["precision"], report["precision"]) == (shipped, shipped)
    why = "to download, and over 0.01 the target takes 8 bits"
    page = (outcome.folders["web"] / "report.html").read_text()
    assert (why in chosen["why"]) is (why in page) is (shipped == "w8a8")


def test_integer_kernels_compute_what_the_integers_mean(outcome):
    (gate,) = [g for g in outcome.reports["this-machine"]["gates"] if g["name"] == "fusion"]
    assert gate["status"] == "PASS"
    assert gate["measured"] > 40


def test_prediction_reads_the_words(outcome):
    found = predict(outcome.folders["this-machine"], ["very warm rain today", "bread and soup"])
    assert [each.best[0][0] for each in found] == ["weather", "food"]


def test_the_code_of_its_readme_reads_the_words(outcome, monkeypatch, capsys, tmp_path):
    folder, text = outcome.folders["this-machine"], "very warm rain today"
    (found,) = predict(folder, [text])
    label, share = in_python(folder, monkeypatch, capsys, "a text of yours", text)
    assert (label, share) == (found.best[0][0], pytest.approx(found.best[0][1], rel=1e-5))
    label, share = in_node(folder, tmp_path, f"globalThis.text = '{text}';")
    assert (label, share) == (found.best[0][0], pytest.approx(found.best[0][1], abs=0.05))


def test_the_kotlin_of_its_readme(outcome, tmp_path):
    folder, texts = outcome.folders["this-machine"], ["very warm rain today", "bread and soup"]
    jar = jvm.compiled(printed(folder, "kotlin"), tmp_path)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [",".join(map(str, tokenizer.encode(text).ids)) for text in texts]
    expected = [each.best[0][0] for each in predict(folder, texts)]
    assert jvm.run(jar, folder, ids, jvm.IDS, tmp_path) == expected


def test_a_text_that_is_empty(outcome, command, tmp_path):
    bundle = outcome.folders["this-machine"]
    code, out, told = command("predict", bundle, "bread and soup", " ", "--json")
    assert (code, told) == (4, "error: INPUT: empty text\n  expected: a word at least\n")
    answered, empty = json.loads(out)  # fault C7: the others' answers were lost
    assert (max(answered["best"], key=answered["best"].get), empty["input"]) == ("food", " ")
    assert empty["error"] == "INPUT: empty text\n  expected: a word at least"
    code, _, told = command("add-class", bundle, "thanks", "very", "", "--out", tmp_path / "four")
    assert code == 4
    assert told.endswith("error: INPUT: empty text\n  expected: a word at least\n")


def test_a_class_is_added_from_texts(outcome, command, tmp_path):
    words = ("add-class", outcome.folders["this-machine"], "thanks", "--out", tmp_path / "four")
    code, told, _ = command(*words, "the very", "very", "the the very", "very very", "--json")
    assert (code, json.loads(told)["examples"]) == (0, 4)
    found = predict(tmp_path / "four", ["very the very", "rain and cold wind", "soup of salt fish"])
    assert [each.best[0][0] for each in found] == ["thanks", "weather", "food"]
    configured = read_json(tmp_path / "four" / "config.json")
    names = (tmp_path / "four" / "labels.txt").read_text().split()
    assert configured["id2label"] == {str(row): name for row, name in enumerate(names)}
    before = read_json(outcome.folders["this-machine"] / "config.json")
    assert (len(before["id2label"]), len(names)) == (3, 4)
