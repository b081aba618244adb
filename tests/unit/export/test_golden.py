"""Golden vectors read back are what the models give."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from edgetransfer.bundle.readers import read_golden
from edgetransfer.data.manifest import Example
from edgetransfer.errors import IntegrityError
from edgetransfer.export.onnx_bundle import write_golden


@pytest.fixture
def models(tmp_path):
    """Write both models of a bundle."""

    def write(reference, core):
        onnx.save(reference, tmp_path / "reference.onnx")
        onnx.save(core, tmp_path / "core.onnx")
        return tmp_path

    return write


def read(folder, entry):
    """Read an array as somebody would who has the index alone."""
    content = (folder / entry["file"]).read_bytes()
    return np.frombuffer(content, np.dtype(entry["dtype"]).newbyteorder("<")).reshape(
        entry["shape"]
    )


def test_pictures(models, core, pictures, prepare, run):
    folder = models(core(0), core(1))
    write_golden(folder / "golden", folder, pictures[0], prepare)
    golden = folder / "golden"
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
            logits = run(folder / f"{name}.onnx", input=prepared[None])[0]
            np.testing.assert_array_equal(np.float32(case[name]["logits"]), logits)
        assert case["core"] != case["reference"]
        assert case["text"] is None
    listed = {case[key]["file"] for case in index["cases"] for key in ["picture"]}
    listed |= {case["prepared"]["input"]["file"] for case in index["cases"]}
    listed |= {case["png"] for case in index["cases"]} | {"index.json"}
    assert {file.name for file in golden.iterdir()} == listed


def test_the_first_version_is_read(models, core, pictures, prepare):
    """There the only outputs were logits."""
    folder = models(core(0), core(1))
    write_golden(folder / "golden", folder, pictures[0], prepare)
    file = folder / "golden" / "index.json"
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


def test_texts(models, text_core, prepare_text, run):
    folder = models(text_core, text_core)
    examples = [
        Example("0", None, "ants and bees", "a", "train", {}, "digest"),
        Example("1", None, "wasps", None, "train", {}, "digest"),
    ]
    write_golden(folder / "golden", folder, examples, prepare_text)
    cases = json.loads((folder / "golden" / "index.json").read_text())["cases"]
    assert [(case["text"], case["label"]) for case in cases] == [
        ("ants and bees", "a"),
        ("wasps", None),
    ]
    assert not any("png" in case or "picture" in case for case in cases)
    ids = [read(folder / "golden", case["prepared"]["input_ids"]) for case in cases]
    assert [each.tolist() for each in ids] == [[1, 2, 3], [0]]
    for case, tokens in zip(cases, ids, strict=True):
        mask = read(folder / "golden", case["prepared"]["attention_mask"])
        logits = run(text_core, input_ids=tokens[None], attention_mask=mask[None])[0]
        np.testing.assert_array_equal(np.float32(case["core"]["logits"]), logits)


def test_the_same_files_every_time(models, core, pictures, prepare):
    folder = models(core(0), core(1))
    for name in ("once", "again"):
        write_golden(folder / name, folder, pictures[0], prepare)
    for file in (folder / "once").iterdir():
        assert (folder / "again" / file.name).read_bytes() == file.read_bytes()
