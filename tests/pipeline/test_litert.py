"""The network for LiteRT: written beside what ships, run by LiteRT itself, and judged."""

from importlib.util import find_spec

import numpy as np
import pytest

import edgetransfer
from edgetransfer.agent.runtimes import litert as plugin
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.export.litert import NEEDED
from edgetransfer.graph.prepare import preparer

THERE = all(find_spec(each) for each in NEEDED)


@pytest.fixture(scope="module")
def lite(pictures, cache, tmp_path_factory):
    if not THERE:
        pytest.skip("the extra `litert` is not installed: make test-litert")
    out = tmp_path_factory.mktemp("lite")
    return edgetransfer.build(pictures, out=out, cache=cache, timing="quick", also=["litert"])


def test_it_stands_in_the_report(lite):
    report = lite.reports["this-machine"]
    (row,) = (row for row in report["ladder"] if row.get("runtime") == "litert")
    assert (row["rung"], row["precision"], row["shipped"]) == (
        "LiteRT, 8 bits, head in float", "w8a8", False,
    )  # fmt: skip
    assert row["bytes"] == (lite.folders["this-machine"] / "litert/model.tflite").stat().st_size
    assert row["sqnr_db"] > 20
    (told,) = report["formats"]
    assert (told["runtime"], told["examples"]) == ("litert", report["agreement"]["n"])
    assert told["flips"] <= 0.1 * told["examples"]
    assert told["accuracy"] == pytest.approx(report["accuracy"]["candidate"], abs=0.1)
    page = (lite.folders["this-machine"] / "report.html").read_text(encoding="utf-8")
    assert "For other runtimes" in page


def test_what_ships_is_chosen_without_it(lite, built):
    def shipped(outcome):
        ladder = outcome.reports["this-machine"]["ladder"]
        return next((row["rung"], row["sqnr_db"]) for row in ladder if row["shipped"])

    assert shipped(lite) == shipped(built)


def test_it_takes_a_prepared_picture_with_channels_last(lite, pictures):
    bundle = open_bundle(lite.folders["this-machine"])
    session = plugin.LiteRtSession(str(bundle.file("litert/model.tflite")))
    height, width = bundle.preprocessing.output_size
    (taken,) = session.ports()["inputs"]
    assert (taken["type"], taken["shape"]) == ("float32", [1, height, width, 3])
    floats = OnnxSession(str(bundle.file("reference.onnx")))
    prepare = preparer(bundle.preprocessing, None)
    rows = [bundle.file(f"golden/{number:02d}.input.bin") for number in range(4)]
    for row in rows:
        given = np.fromfile(row, "<f4").reshape(1, 3, height, width)
        (wanted,), (found,) = (
            each.run({prepare.input_names[0]: given}) for each in (floats, session)
        )
        assert np.abs(found - wanted).max() < 0.1 * np.ptp(wanted)


def test_texts_are_refused_before_any_work(texts, encoder, cache, command):
    code, _, err = command(
        "build", texts, "--backbone", encoder, "--also", "litert", "--cache", cache
    )
    assert code == 6
    assert err.endswith(
        "error: --also litert: a network of texts is not converted for LiteRT\n"
        "  fix: leave the option out: ONNX Runtime runs texts on phones too\n"
    )


def test_another_format(pictures, command):
    code, _, err = command("build", pictures, "--also", "tensorflow")
    assert code == 3
    assert err == "error: command line: --also: should be 'litert' (found 'tensorflow')\n"


@pytest.mark.skipif(THERE, reason="what converts is installed")
def test_without_what_converts(pictures, cache, command):
    code, _, err = command("build", pictures, "--also", "litert", "--cache", cache)
    assert code == 5
    assert err.endswith(
        "error: --also litert needs the package litert-torch, which is not installed\n"
        "  fix: pip install 'edgetransfer[litert]'\n"
    )
