"""Golden vectors read back are what the models give."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from edgetransfer.bundle.readers import read_golden
from edgetransfer.data.decode import decode
from edgetransfer.data.manifest import Example
from edgetransfer.errors import IntegrityError
from edgetransfer.export.golden import HARD_TEXTS, hard_pictures, write_golden
from edgetransfer.graph.embed import whole_model
from tests.unit.export.conftest import CONTRACT


@pytest.fixture
def models(tmp_path):
    """Write the models of a bundle, and say where they lie."""

    def write(reference, core, preprocessing=None):
        networks = {"reference": reference, "core": core}
        networks["model"] = core if preprocessing is None else whole_model(core, preprocessing)
        files = {f"{name}.onnx": tmp_path / f"{name}.onnx" for name in networks}
        for name, network in networks.items():
            onnx.save(network, files[f"{name}.onnx"])
        return files

    return write


def read(tmp_path, entry):
    """Read an array as somebody would who has the index alone."""
    content = (tmp_path / entry["file"]).read_bytes()
    return np.frombuffer(content, np.dtype(entry["dtype"]).newbyteorder("<")).reshape(
        entry["shape"]
    )


def test_pictures(models, core, pictures, prepare, run, tmp_path):
    files = models(core(0), core(1), CONTRACT)
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
    listed |= {case["png"] for case in index["cases"]} | {"index.json", "golden.tsv"}
    hard = {each for file in hard_pictures() for each in (file, raw_of(file))}
    assert {file.name for file in golden.iterdir()} == listed | hard


def raw_of(file):
    return f"{file.partition('.')[0]}.picture.bin"


def rows_of(folder):
    """Read the cases for apps as an app does."""
    head, *rows = (
        line.split("\t") for line in (folder / "golden.tsv").read_text().split("\n")[:-1]
    )
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_pictures_for_apps(models, core, pictures, prepare, run, tmp_path):
    """A line is enough to hold an app against: the file, the bytes in it, and the outputs."""
    write_golden(tmp_path / "golden", models(core(0), core(1), CONTRACT), pictures[0], prepare)
    golden, rows = tmp_path / "golden", rows_of(tmp_path / "golden")
    assert [row["name"] for row in rows[:3]] == ["00", "01", "02"]
    for row in rows:
        shape = int(row["height"]), int(row["width"]), 3
        raw = np.frombuffer((golden / raw_of(row["file"])).read_bytes(), np.uint8).reshape(shape)
        np.testing.assert_array_equal(decode(golden / row["file"]), raw)
        logits = run(tmp_path / "model.onnx", picture=raw[None])[0]
        np.testing.assert_array_equal(np.float32(row["logits"].split(",")), logits)
    sizes = {row["name"]: (row["width"], row["height"], row["levels"]) for row in rows[3:]}
    assert sizes == {
        "turned": ("36", "48", "4"),
        "turned-and-mirrored": ("36", "48", "4"),
        "one-pixel": ("1", "1", "0"),
        "odd-size": ("37", "23", "0"),
        "grey-16-bit": ("48", "36", "1"),
        "transparent": ("48", "36", "1"),
        "cmyk": ("48", "36", "12"),
        "animated": ("48", "36", "0"),
    }


@pytest.mark.parametrize("turn", ["none", "half", "mirror", "exchanged"])
def test_no_wrong_way_to_decode_a_hard_picture_is_taken_for_right(turn):
    """What is turned, mirrored, or has red and blue exchanged is further off than is let pass."""
    wrong = {
        "none": lambda pixels: pixels,
        "half": lambda pixels: pixels[::-1, ::-1],
        "mirror": lambda pixels: pixels[:, ::-1],
        "exchanged": lambda pixels: pixels[..., ::-1],
    }[turn]
    for file, (content, levels) in hard_pictures().items():
        if file == ("grey-16-bit.png" if turn == "exchanged" else "one-pixel.png"):
            continue  # grey has no colours, and one pixel no sides
        right = decode(content).astype(int)
        apart = np.abs(wrong(right) - right).max()
        assert (apart == 0) if turn == "none" else (apart > levels + 20), file


def test_the_first_version_is_read(models, core, pictures, prepare, tmp_path):
    """There the only outputs were logits."""
    files = models(core(0), core(1), CONTRACT)
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
    rows = rows_of(tmp_path / "golden")
    assert [row["text"] for row in rows[:2]] == ["ants and bees", "wasps"]
    assert {row["name"] for row in rows[2:]} <= set(HARD_TEXTS)
    for row in rows:
        tokens = np.array([row["input_ids"].split(",")], dtype=np.int64)
        logits = run(text_core, input_ids=tokens, attention_mask=np.ones_like(tokens))[0]
        np.testing.assert_array_equal(np.float32(row["logits"].split(",")), logits)
    for case, tokens in zip(cases, ids, strict=True):
        mask = read(tmp_path / "golden", case["prepared"]["attention_mask"])
        logits = run(text_core, input_ids=tokens[None], attention_mask=mask[None])[0]
        np.testing.assert_array_equal(np.float32(case["core"]["logits"]), logits)


def test_the_same_files_every_time(models, core, pictures, prepare, tmp_path):
    files = models(core(0), core(1), CONTRACT)
    for name in ("once", "again"):
        write_golden(tmp_path / name, files, pictures[0], prepare)
    for file in (tmp_path / "once").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
