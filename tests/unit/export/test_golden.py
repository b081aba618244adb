"""Golden vectors read back are what the models give."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from edgetransfer.bundle.readers import read_golden
from edgetransfer.data.manifest import Example
from edgetransfer.errors import IntegrityError
from edgetransfer.export.golden import write_golden


@pytest.fixture
def models(tmp_path):
    """Write both models of a bundle, and say where they lie."""

    def write(reference, core):
        files = {name: tmp_path / name for name in ("reference.onnx", "core.onnx")}
        onnx.save(reference, files["reference.onnx"])
        onnx.save(core, files["core.onnx"])
        return files

    return write


def read(tmp_path, entry):
    """Read an array as somebody would who has the index alone."""
    content = (tmp_path / entry["file"]).read_bytes()
    return np.frombuffer(content, np.dtype(entry["dtype"]).newbyteorder("<")).reshape(
        entry["shape"]
    )


def test_pictures(models, core, pictures, prepare, run, tmp_path):
    files = models(core(0), core(1))
    write_golden(tmp_path / "golden", files, pictures[0], prepare)
    golden = tmp_path / "golden"
    index = json.loads((golden / "index.json").read_text())
    assert index["schema"] == "edgetransfer.golden/2"
    assert [case["label"] for case in index["cases"]] == ["a", "b", "c"]
    for case, example, pixels in zip(index["cases"], *pictures, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(golden / case["png"])), pixels)
        np.testing.assert_array_equal(read(golden, case["picture"]), pixels)
        prepared = read(golden, case["prepared"]["input"])
        assert prepared.dtype == np.float32
        np.testing.assert_array_equal(prepared, prepare.prepare(example)["input"][0])
        for name in ("core", "reference"):
            logits = run(tmp_path / f"{name}.onnx", input=prepared[None])[0]
            np.testing.assert_array_equal(np.float32(case[name]["logits"]), logits)
        assert case["core"] != case["reference"]
        assert case["text"] is None
    listed = {case[key]["file"] for case in index["cases"] for key in ["picture"]}
    listed |= {case["prepared"]["input"]["file"] for case in index["cases"]}
    listed |= {case["png"] for case in index["cases"]} | {"index.json"}
    assert {file.name for file in golden.iterdir()} == listed


def test_the_first_version_is_read(models, core, pictures, prepare, tmp_path):
    """There the only outputs were logits."""
    files = models(core(0), core(1))
    write_golden(tmp_path / "golden", files, pictures[0], prepare)
    file = tmp_path / "golden" / "index.json"
    index = json.loads(file.read_text())
    wanted = read_golden(file)
    index["schema"] = "edgetransfer.golden/1"
    for case in index["cases"]:
        for name in ("core", "reference"):
            case[f"{name}_logits"] = case.pop(name)["logits"]
    file.write_text(json.dumps(index))
    assert read_golden(file) == wanted
    del index["cases"][0]["core_logits"]
    file.write_text(json.dumps(index))
    with pytest.raises(IntegrityError) as caught:
        read_golden(file)
    assert str(caught.value).splitlines()[:1] == [
        f"{file}: cases.0: core and reference should be outputs by name"
    ]


def test_texts(models, text_core, prepare_text, run, tmp_path):
    files = models(text_core, text_core)
    examples = [
        Example("0", None, "ants and bees", "a", "train", {}, "digest"),
        Example("1", None, "wasps", None, "train", {}, "digest"),
    ]
    write_golden(tmp_path / "golden", files, examples, prepare_text)
    cases = json.loads((tmp_path / "golden" / "index.json").read_text())["cases"]
    assert [(case["text"], case["label"]) for case in cases] == [
        ("ants and bees", "a"),
        ("wasps", None),
    ]
    assert not any("png" in case or "picture" in case for case in cases)
    ids = [read(tmp_path / "golden", case["prepared"]["input_ids"]) for case in cases]
    assert [each.tolist() for each in ids] == [[1, 2, 3], [0]]
    for case, tokens in zip(cases, ids, strict=True):
        mask = read(tmp_path / "golden", case["prepared"]["attention_mask"])
        logits = run(text_core, input_ids=tokens[None], attention_mask=mask[None])[0]
        np.testing.assert_array_equal(np.float32(case["core"]["logits"]), logits)


def test_the_same_files_every_time(models, core, pictures, prepare, tmp_path):
    files = models(core(0), core(1))
    for name in ("once", "again"):
        write_golden(tmp_path / name, files, pictures[0], prepare)
    for file in (tmp_path / "once").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
