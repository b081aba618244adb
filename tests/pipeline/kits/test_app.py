"""What the check of a kit measured on a device is judged like any measurement."""

import json
import shutil

import numpy as np
import pytest

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.bundle.readers import read_report
from edgetransfer.kits.app import judge_app
from edgetransfer.kits.files.linux.edge_model import lines_of


@pytest.fixture
def bundle(picture_bundle, tmp_path):
    shutil.copytree(picture_bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def measured(bundle):
    """A measurement in which all is as on the build host, and a way to write another."""
    head, *rows = (
        line.split("\t") for line in lines_of(bundle / "measure" / "golden" / "golden.tsv")
    )
    cases = [
        {"name": row[0], "outputs": [float(each) for each in row[head.index("logits")].split(",")]}
        for row in rows
    ]
    whole = {
        "schema": "edgetransfer.app/1",
        "kit": "android",
        "sha256": open_bundle(bundle).digest("model.onnx"),
        "runtime": "onnxruntime 1.29.0",
        "device": "Pixel 8",
        "cases": cases,
        "wrong": [],
        "milliseconds": np.random.default_rng(0).normal(5, 0.1, 50).round(3).tolist(),
    }

    def write(**changes):
        file = bundle.parent / "measured.json"
        file.write_text(json.dumps({**whole, **changes}))
        return file

    return write, cases


def test_as_on_the_build_host(bundle, measured, command):
    write, cases = measured
    code, out, _ = command("report", bundle, "--measured", write())
    assert code == 0
    count = len(cases)
    told = f"android on Pixel 8: PASS, {count} golden cases, outputs off by 0 at most, p90 5."
    assert told in " ".join(out.split())
    (row,) = read_report(bundle / "report.json")["apps"]
    assert (row["status"], row["worst"], row["changed"], row["n"]) == ("PASS", 0, 0, 50)
    page = (bundle / "report.html").read_text(encoding="utf-8")
    assert "android: Pixel 8" in page
    open_bundle(bundle)  # the report is of this bundle still, and sealed


def test_the_newest_of_a_device_stays(bundle, measured, command):
    write, _ = measured
    command("report", bundle, "--measured", write())
    command("report", bundle, "--measured", write(device="Pixel 4"))
    command("report", bundle, "--measured", write(milliseconds=[7.0] * 50))
    rows = read_report(bundle / "report.json")["apps"]
    assert [(row["device"], row["p50_ms"]) for row in rows] == [
        ("Pixel 8", 7.0),
        ("Pixel 4", pytest.approx(5, abs=0.1)),
    ]
    code, out, _ = command("report", bundle)
    assert code == 0
    assert "Pixel 4" in out


def judged(bundle, file):
    row = judge_app(open_bundle(bundle), file)
    return row["status"], row["reasons"]


def test_what_fails(bundle, measured, command):
    write, cases = measured
    wrong = "decode turned: 48 x 36 pixels, expected 36 x 48"
    assert judged(bundle, write(wrong=[wrong])) == ("FAIL", [wrong])
    assert judged(bundle, write(cases=cases[1:])) == ("FAIL", ["no outputs of 00"])
    strange = [*cases, {"name": "mine", "outputs": [1.0]}]
    assert judged(bundle, write(cases=strange)) == (
        "FAIL", ["outputs that are not of this model: mine"],
    )  # fmt: skip
    far = [{**cases[0], "outputs": [each + 50 for each in cases[0]["outputs"]]}, *cases[1:]]
    status, (why,) = judged(bundle, write(cases=far))
    assert status == "FAIL"
    assert why.startswith("outputs of 00 are off by more than ")
    assert command("report", bundle, "--measured", write(cases=far))[0] == 8


def with_limit(bundle, limit):
    opened = open_bundle(bundle)
    budget = {**opened.manifest["recipe"].get("budget", {}), "max_latency_ms": limit}
    opened.manifest["recipe"] = {**opened.manifest["recipe"], "budget": budget}
    return opened


@pytest.mark.parametrize(
    ("limit", "times", "status", "why"),
    [
        (6, [5.0] * 50, "PASS", []),
        (4, [5.0] * 50, "FAIL", ["p90 5 ms [5, 5]: over the limit of 4 ms"]),
        (
            5, [4.0] * 44 + [6.0] * 6, "INCONCLUSIVE",
            ["p90 6 ms [4, 6]: the limit of 5 ms lies within"],
        ),
        (
            5, [4.0] * 10, "INCONCLUSIVE",
            ["10 times: the 90th percentile takes 36 or more to know"],
        ),
        (5, [], "INCONCLUSIVE", ["0 times: the 90th percentile takes 36 or more to know"]),
    ],
)  # fmt: skip
def test_the_limit_of_the_time(bundle, measured, limit, times, status, why):
    write, _ = measured
    row = judge_app(with_limit(bundle, limit), write(milliseconds=times))
    assert (row["status"], row["reasons"]) == (status, why)


def refused(command, bundle, file):
    code, _, err = command("report", bundle, "--measured", file)
    assert code == 4
    assert read_report(bundle / "report.json").get("apps") is None
    return err


def test_another_model(bundle, measured, command):
    write, _ = measured
    own = open_bundle(bundle).digest("model.onnx")[:12]
    assert refused(command, bundle, write(sha256="0" * 64)) == (
        f"error: {bundle.parent / 'measured.json'}: the app ran another model than this bundle's\n"
        f"  found: 000000000000\n  expected: {own}\n"
        "  fix: export the kit again, or name the bundle that it was made of\n"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a readable measurement of an app"),
        (b"{}", "Field required"),
        (b'{"schema": "edgetransfer.app/2"}', "schema"),
        (b"\xff\xfe", "not a readable measurement of an app"),
    ],
)
def test_what_is_no_measurement(bundle, command, content, said):
    file = bundle.parent / "measured.json"
    file.write_bytes(content)
    err = refused(command, bundle, file)
    assert said in err
    assert "expected: measured.json as the check of a kit wrote it" in err
