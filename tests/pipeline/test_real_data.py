"""The bars of the spine on real photographs with a real backbone; speed is for benchmarks."""

from pathlib import Path

import pytest

import edgetransfer

SHARED = Path(__file__).parents[3] / "shared"
pytest.importorskip("transformers", reason="the extra `hf` is not installed")
if not SHARED.is_dir():
    pytest.skip(f"needs the data and weights in {SHARED}", allow_module_level=True)


@pytest.fixture(scope="module")
def report(cache, tmp_path_factory):
    outcome = edgetransfer.build(
        SHARED / "datasets" / "hymenoptera",
        backbone=str(SHARED / "backbones" / "mobilenet_v2_1.0_224"),
        fit="probe",
        target="this-machine",
        precision="w8a8",
        out=tmp_path_factory.mktemp("hymenoptera"),
        cache=cache,
        timing="quick",
    )
    return outcome.reports["this-machine"]


def test_accuracy_of_a_plain_linear_probe(report):
    assert report["accuracy"]["n"] == 153
    assert report["accuracy"]["reference"] >= 0.95
    assert report["accuracy"]["candidate"] >= 0.94  # two pictures lie at the very border


def test_decisions_survive_eight_bits(report):
    assert report["agreement"]["rate"] >= 0.98
    assert report["numeric"]["sqnr_db"] >= 26


def test_every_convolution_runs_in_int8(report):
    head = ["Gemm head"]
    assert report["residency"] == {"float_conv": 0, "int8_conv": 52, "float_ops": head}


def test_the_verdict_is_what_the_rule_says(report):
    bound = report["accuracy"]["drop_ucb95_pp"]
    if report["agreement"]["flips"] == 0:  # 0.95 = (1 - p) ** 153
        assert bound == pytest.approx(100 * (1 - 0.05 ** (1 / 153)), abs=1e-3)
        assert report["verdict"] == "PASS"
    else:
        assert report["verdict"] == ("PASS" if bound < 2.0 else "INCONCLUSIVE")


def test_negative_transfer_is_not_cried_on_photographs(report):
    block = report["soundness"]
    assert block["warnings"] == []
    assert {row["finding"] for row in block["comparisons"]} == {"better"}
    assert block["neighbours"]["accuracy"] > 0.9
