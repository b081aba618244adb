"""What an app carries is told by part, and a build of the runtime can leave the rest out."""

import json
import re

import onnx

from edgetransfer.bundle.opened import open_bundle


def test_parts_of_a_model_and_of_runtimes(picture_bundle, command):
    code, out, _ = command("size", picture_bundle, "--json")
    told = json.loads(out)
    assert code == 0
    (model,) = (row for row in told["model"] if row["part"] == "model.onnx")
    assert model["bytes"] == (picture_bundle / "model.onnx").stat().st_size
    assert 0 < model["gzip_bytes"] < model["bytes"]
    assert {row["part"].partition(":")[0] for row in told["runtime"]} == {
        "android", "ios", "web", "linux",
    }  # fmt: skip
    assert all(0 < row["gzip_bytes"] < row["bytes"] for row in told["runtime"])


def test_it_is_shown_in_mebibytes(text_bundle, command):
    code, out, _ = command("size", text_bundle)
    assert code == 0
    lines = out.splitlines()
    for part in ("model.onnx", "vocabulary.txt", "characters.tsv", "labels.txt", "model.tsv"):
        (line,) = (each for each in lines if part in each)
        assert re.search(r" [0-9.]+ [MK]iB +[0-9.]+ [MK]iB\s*$", line)
    assert any("android: onnxruntime 1.29.0, arm64-v8a" in line for line in lines)


def test_operators_that_the_model_needs(picture_bundle, command, tmp_path):
    code, _, _ = command("size", picture_bundle, "--operators", "needed.config")
    assert code == 0
    rows = [line.split(";") for line in (tmp_path / "needed.config").read_text().splitlines()]
    needed = {(domain, name) for domain, _, names in rows for name in names.split(",")}
    model = onnx.load(open_bundle(picture_bundle).file("model.onnx"))
    assert {(each.domain or "ai.onnx", each.op_type) for each in model.graph.node} <= needed
    assert "QLinearConv" in dict(each[::-1] for each in needed)  # of Q/DQ around a convolution
    assert {domain for domain, _, _ in rows} <= {"ai.onnx", "com.microsoft", "com.microsoft.nchwc"}
