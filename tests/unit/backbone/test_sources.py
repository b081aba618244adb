"""What the user wrote becomes files, or one clear error."""

import json
import os
import sys
import types

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgetransfer.backbone import sources
from edgetransfer.errors import IntegrityError, MissingExtraError, SpecError, StageError

EXPECTED = "hf:ORG/NAME, timm:NAME, builtin:NAME, a local folder, or a .onnx file"
PICKLE_FIX = (
    "  expected: weights as .safetensors\n"
    "  fix: take a revision with safetensors, or convert it where you trust it: "
    "safetensors.torch.save_model(model, 'model.safetensors')"
)


def message(name, error=SpecError):
    with pytest.raises(error) as caught:
        sources.locate(str(name))
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    """Write files of a folder, by name."""

    def write(**contents):
        target = tmp_path / "model"
        target.mkdir(exist_ok=True)
        for name, content in contents.items():
            (target / name.replace("__", ".")).write_text(content)
        return target

    return write


@pytest.mark.parametrize("name", sources.builtin_names())
def test_builtin(name):
    source = sources.locate(f"builtin:{name}")
    assert (source.layout, source.path) == ("builtin", sources.WEIGHTS / name)


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        ({"model_type": "vit"}, "transformers"),
        ({"model_type": "vit", "architecture": "vit"}, "transformers"),
        ({"architecture": "resnet18", "pretrained_cfg": {}}, "timm"),
    ],
)
def test_a_folder_is_of_the_library_that_its_config_tells(folder, config, layout):
    path = folder(config__json=json.dumps(config), model__safetensors="")
    source = sources.locate(str(path))
    assert (source.name, source.layout, source.path) == (str(path), layout, path)


def test_the_home_folder_may_be_short(folder, monkeypatch):
    path = folder(config__json="{}", model__safetensors="")
    monkeypatch.setenv("HOME", str(path.parent))
    assert sources.locate("~/model").path == path


def test_b2_the_digest_is_of_all_that_a_library_may_open(folder):
    def digest(**contents):
        return sources.locate(str(folder(**contents))).digest

    first = digest(config__json="{}", model__safetensors="a")
    assert digest(pytorch_model__bin="no pickle is opened", __hidden="of git") == first
    digests = [
        first,
        digest(model__safetensors="b"),
        digest(README__md="license: mit"),
        digest(merges__txt="a b"),
        digest(spiece__model="pieces"),
    ]
    (folder() / "2_Dense").mkdir()
    (folder() / "2_Dense" / "model.safetensors").write_text("c")
    assert len({*digests, digest()}) == len(digests) + 1


def test_b2_an_index_that_names_weights_elsewhere_is_refused(folder):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "../x/model.safetensors"}})
    path = folder(config__json="{}", model__safetensors="", model__safetensors__index__json=index)
    assert message(path, IntegrityError) == (
        f"{path / 'model.safetensors.index.json'}: the index names weights outside the folder\n"
        "  found: ../x/model.safetensors\n"
        f"  expected: names of files beside it (--backbone {path})"
    )


def external(path, name, inner):
    """Write a model whose tensors, one of them in a branch, lie in a file of that name."""
    values = numpy_helper.from_array(np.ones((40, 40), np.float32), "weights")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=values)],
        "branch", [], [helper.make_tensor_value_info("out", 1, None)],
    )  # fmt: skip
    node = helper.make_node("If", ["which"], ["out"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [node], "graph", [helper.make_tensor_value_info("which", 9, [])],
        [helper.make_tensor_value_info("out", 1, None)], [] if inner else [values],
    )  # fmt: skip
    (path.parent / name).parent.mkdir(exist_ok=True)
    onnx.save(
        helper.make_model(graph), path,
        save_as_external_data=True, location=name, convert_attribute=inner,
    )  # fmt: skip


@pytest.mark.parametrize("inner", [False, True], ids=["initializer", "attribute"])
@pytest.mark.parametrize("name", ["weights.bin", "parts/w"])
def test_b2_tensors_in_a_file_of_any_name_are_in_the_digest(folder, name, inner):
    path = folder(preprocess__json="{}", labels__txt="x\n") / "mine.onnx"
    external(path, name, inner)
    before = sources.locate(str(path)).digest
    (path.parent / name).write_bytes(b"other weights")
    assert sources.locate(str(path)).digest != before


def test_weights_in_a_file_with_other_names_are_refused(folder, tmp_path):
    """Fault E6: hard-linked external data is read."""
    path = folder(preprocess__json="{}", labels__txt="x\n") / "mine.onnx"
    external(path, "weights.bin", False)
    os.link(path.parent / "weights.bin", tmp_path / "another name")
    with pytest.raises(SpecError) as caught:
        sources.load_onnx(sources.locate(str(path)), "image")
    assert str(caught.value) == (
        f"{path.parent / 'weights.bin'}: weights are read from a file that has other names too "
        "(hard links)\n  fix: make a copy of it: cp weights.bin x && mv x weights.bin"
    )


def test_b2_the_tokenizer_that_the_contract_names_is_in_the_digest(folder):
    contract = json.dumps({"kind": "text", "tokenizer": "words/mine.json"})
    path = folder(mine__onnx="a", preprocess__json=contract, labels__txt="x\n") / "mine.onnx"
    (path.parent / "words").mkdir()
    digests = set()
    for name, text in (("mine.json", "{}"), ("mine.json", "{ }"), ("tokenizer_config.json", "{}")):
        (path.parent / "words" / name).write_text(text)
        digests.add(sources.locate(str(path)).digest)
    assert len(digests) == 3


def test_the_digest_does_not_depend_on_the_place(tmp_path):
    digests = set()
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text("{}")
        (tmp_path / place / "model.safetensors").write_text("a")
        digests.add(sources.locate(str(tmp_path / place)).digest)
    assert len(digests) == 1


def test_an_onnx_file_with_what_belongs_to_it(folder):
    path = folder(mine__onnx="a", preprocess__json="{}", labels__txt="x\n") / "mine.onnx"
    source = sources.locate(str(path))
    assert (source.layout, source.path) == ("onnx", path)
    (path.parent / "other.onnx").write_text("b")
    assert sources.locate(str(path)).digest == source.digest


@pytest.mark.parametrize(
    "name", ["mine.onnx", "mine.onnx.data", "preprocess.json", "labels.txt", "tokenizer.json"]
)
def test_every_file_of_an_onnx_model_is_in_its_digest(folder, name):
    path = folder(mine__onnx="a", preprocess__json="{}", labels__txt="x\n") / "mine.onnx"
    before = sources.locate(str(path)).digest
    (path.parent / name).write_text("changed")
    assert sources.locate(str(path)).digest != before


@pytest.mark.parametrize("name", ["resnet", "./absent", "hf:", "timm:", "absent.onnx", "ftp:x"])
def test_nothing_of_that_name(name):
    assert message(name) == f"--backbone {name}: no such backbone\n  expected: {EXPECTED}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tiny64", "builtin:tiny-64"),
        ("google/mobilenet_v2_1.0_224", "hf:google/mobilenet_v2_1.0_224"),
        ("tim:resnet50", "timm:resnet50"),
        ("HF:org/name", "hf:org/name"),
    ],
)
def test_a_name_that_is_close_to_one(name, told):
    assert message(name) == (
        f"--backbone {name}: no such backbone\n  expected: {EXPECTED}\n  fix: did you mean {told}?"
    )


def test_no_builtin_of_that_name():
    names = ", ".join(f"builtin:{name}" for name in sources.builtin_names())
    assert message("builtin:huge") == (
        f"--backbone builtin:huge: no such built-in backbone\n  expected: {names}"
    )


def test_a_file_that_is_no_model(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("")
    assert message(file).startswith(f"--backbone {file}: no such backbone\n")


def test_a_folder_of_something_else(folder):
    path = folder(notes__txt="", a__png="")
    assert message(path) == (
        f"--backbone {path}: not a backbone folder\n  found: a.png, notes.txt\n"
        "  expected: config.json and weights as .safetensors (transformers or timm layout)"
    )


def test_a_folder_with_an_onnx_file_is_told_how_to_name_it(folder):
    path = folder(mine__onnx="", labels__txt="")
    assert message(path) == (
        f"--backbone {path}: not a backbone folder\n  found: labels.txt, mine.onnx\n"
        "  expected: config.json and weights as .safetensors (transformers or timm layout)\n"
        f"  fix: name the file: --backbone {path / 'mine.onnx'} --fit none"
    )


def test_errors_name_the_option_that_was_used(folder):
    """A bundle as a teacher: of its graphs one is float."""
    path = folder(core__onnx="", reference__onnx="")
    with pytest.raises(SpecError) as caught:
        sources.locate(str(path), option="--distill-from")
    assert str(caught.value) == (
        f"--distill-from {path}: not a backbone folder\n  found: core.onnx, reference.onnx\n"
        "  expected: config.json and weights as .safetensors (transformers or timm layout)\n"
        f"  fix: name the file: --distill-from {path / 'reference.onnx'}"
    )
    (path / "measure").mkdir()
    for graph in path.glob("*.onnx"):
        graph.rename(path / "measure" / graph.name)
    with pytest.raises(SpecError) as caught:
        sources.locate(str(path))
    assert str(caught.value).splitlines()[-1] == (
        f"  fix: name the file: --backbone {path / 'measure' / 'reference.onnx'} --fit none"
    )
    source = sources.locate("builtin:tiny-64", option="--distill-from")
    with pytest.raises(SpecError) as caught:
        sources.load(source, "text")
    assert str(caught.value).startswith("--distill-from builtin:tiny-64: the built-in backbone ")


def test_an_empty_folder(tmp_path):
    assert message(tmp_path) == (
        f"--backbone {tmp_path}: not a backbone folder\n  found: an empty folder\n"
        "  expected: config.json and weights as .safetensors (transformers or timm layout)"
    )


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"])
def test_pickles_are_refused(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"")
    reason = "the weights are a pickle, which can run any code when it is opened"
    for given in (tmp_path, tmp_path / name):
        assert message(given, IntegrityError) == (
            f"--backbone {given}: {reason}\n  found: {name}\n{PICKLE_FIX}"
        )


def test_a_pickle_beside_safetensors_is_of_no_interest(folder):
    path = folder(config__json="{}", model__safetensors="", pytorch_model__bin="")
    assert sources.locate(str(path)).layout == "transformers"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("[]", "the whole: should be an object (found [])"),
        (
            "{",
            "not a readable model configuration\n"
            "  found: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
    ],
)
def test_a_config_that_is_none(folder, config, problem):
    path = folder(config__json=config, model__safetensors="")
    assert message(path) == (
        f"{path / 'config.json'}: {problem}\n"
        "  expected: config.json as transformers or timm writes it"
    )


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"labels__txt": ""}, "preprocess.json"),
        ({}, "preprocess.json and labels.txt"),
    ],
)
def test_an_onnx_file_alone(folder, given, missing):
    path = folder(mine__onnx="", **given) / "mine.onnx"
    assert message(path) == (
        f"--backbone {path}: an .onnx file needs {missing} beside it\n"
        "  expected: preprocess.json (the contract, see docs/own-model.md) and labels.txt "
        "(one class a line, in the order of the outputs)"
    )


@pytest.fixture
def hub(monkeypatch, folder):
    """A hub that answers with a folder, or with an error."""

    def pretend(error=None):
        asked = []

        def download(repository, allow_patterns):
            asked.append((repository, allow_patterns))
            if error is not None:
                raise error
            return str(folder(config__json="{}", model__safetensors=""))

        module = types.SimpleNamespace(snapshot_download=download)
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)
        return asked

    return pretend


def test_a_hub_is_asked_only_for_what_is_safe_and_needed(hub):
    asked = hub()
    source = sources.locate("hf:org/name")
    assert (source.name, source.layout) == ("hf:org/name", "transformers")
    ((repository, patterns),) = asked
    assert repository == "org/name"
    assert {"*.safetensors", "*.json", "README.md"} <= set(patterns)
    assert not [each for each in patterns if each.endswith((".bin", ".py", ".pt"))]


@pytest.mark.parametrize(
    ("error", "found"),
    [(OSError("no route to host\nmore"), "no route to host"), (OSError(), "OSError()")],
)
def test_a_hub_that_does_not_answer(hub, error, found):
    hub(error)
    assert message("hf:org/name", StageError) == (
        f"--backbone hf:org/name: the backbone could not be downloaded\n  found: {found}\n"
        "  fix: check the name and the connection, or download it elsewhere and give the folder"
    )


@pytest.mark.parametrize(
    ("name", "package", "extra", "purpose"),
    [
        ("hf:org/name", "huggingface_hub", "hf", "--backbone hf:org/name"),
        ("timm:resnet18", "timm", "timm", "timm:resnet18"),
    ],
)
def test_a_library_that_is_not_installed(monkeypatch, name, package, extra, purpose):
    monkeypatch.setitem(sys.modules, package, None)
    assert message(name, MissingExtraError) == (
        f"{purpose} needs the package {package}, which is not installed\n"
        f"  fix: pip install 'edgetransfer[{extra}]'"
    )


def test_an_onnx_file_cannot_be_fitted(folder):
    path = folder(mine__onnx="", preprocess__json="{}", labels__txt="") / "mine.onnx"
    with pytest.raises(SpecError) as caught:
        sources.load(sources.locate(str(path)), "image")
    assert str(caught.value) == (
        f"--backbone {path}: an .onnx file cannot be fitted\n"
        "  fix: add --fit none to measure it as it is, or give the trainable weights"
    )


def test_a_backbone_has_no_classifier_of_its_own():
    name = f"builtin:{sources.builtin_names()[0]}"
    with pytest.raises(SpecError) as caught:
        sources.load_fitted(sources.locate(name), "image")
    assert str(caught.value) == (
        f"--fit none: {name} has no classifier of its own\n"
        "  expected: a fitted transformers folder or a float .onnx file\n"
        "  fix: choose --fit probe or --fit finetune"
    )


def test_d6_an_extension_in_capitals(folder):
    """Fault D6: ``.ONNX`` was no backbone."""
    path = folder(preprocess__json="{}", labels__txt="x\n") / "Mine.ONNX"
    path.write_bytes(b"a")
    assert sources.locate(str(path)).layout == "onnx"


def test_d6_weights_that_were_not_pulled(folder):
    """Fault D6: a pointer of Git LFS was a header that is too large."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    path = folder(config__json="{}", model__safetensors=pointer)
    with pytest.raises(SpecError) as caught:
        sources.locate(str(path))
    assert str(caught.value) == (
        f"{path / 'model.safetensors'}: not a readable file of weights\n"
        "  found: a pointer of Git LFS, not the file: run `git lfs pull`\n"
        "  expected: a .safetensors file"
    )
