"""The cheap commands that README and docs print are run; their code for an app is a bundle's."""

import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.errors import EdgeTransferError
from edgetransfer.kits.files.linux.edge_model import lines_of
from edgetransfer.transport.browser import runtime

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("pages", ROOT / "tests/contract/test_pages.py")
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)

HERE = "edgetransfer-out/this-machine"
# `bench`, `add-class` and a bundle for a Jetson take seconds, and have tests of their own.
RUN = (
    *("targets", "cache", "backbones list", "report", "predict", "plan", "head export"),
    *("export", "size", "push"),
)
ABSENT = re.compile(
    r"--(backbone|candidate|distill-from) (?!builtin:)|\.csv|many-classes|processes"
)
"""What a printed build may name that is not here: such a one is not planned."""


def texts():
    return [page.read_text(encoding="utf-8") for page in pages.PAGES]


def cheap():
    """Return the printed commands that are run; of a build, its plan."""
    found = {shlex.join(words) for text in texts() for whole, words in pages.printed(text) if whole}
    builds = {each for each in found if each.startswith("build ") and not ABSENT.search(each)}
    planned = {each.replace("build", "plan", 1) for each in builds}
    ran = {each for each in found if each.startswith(RUN) and "jetson" not in each}
    return sorted(ran | planned)


def measured(folder):
    """Return what the check of a kit writes where all is as on the build host."""
    _, *rows = (line.split("\t") for line in lines_of(folder / "measure/golden/golden.tsv"))
    return {
        "schema": "edgetransfer.app/1", "kit": "linux", "device": "a board",
        "sha256": open_bundle(folder).digest("model.onnx"), "runtime": "onnxruntime 1.32.0",
        "cases": [{"name": row[0], "outputs": [*map(float, row[-1].split(","))]} for row in rows],
        "wrong": [], "milliseconds": [1.0] * 50,
    }  # fmt: skip


@pytest.fixture
def place(built, pictures, tmp_path):
    """A folder that has what the pages name."""
    for name in (HERE, "out/this-machine", "BUNDLE", "NEW"):
        shutil.copytree(built.folders["this-machine"], tmp_path / name)
    (tmp_path / "measured.json").write_text(json.dumps(measured(tmp_path / HERE)))
    for name in ("photos", "test-photos"):
        (tmp_path / name).symlink_to(pictures)
    for name in ("new-photos/disc", "new-photos/square", "more-photos", "folder"):
        (tmp_path / name).mkdir(parents=True)
        shape = Path(name).name if "/" in name else "stripes"
        shutil.copy(pictures / "test" / shape / "03.png", tmp_path / name)
    picture = Image.open(pictures / "test" / "disc" / "00.png")
    for name in ("cat", *"abcde"):
        picture.save(tmp_path / f"{name}.jpg")
    (tmp_path / "new.csv").write_text("file\na.jpg\n")
    (recipe,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/recipes.md").read_text(), re.DOTALL)
    (tmp_path / "recipe.toml").write_text(
        recipe.replace("./mobilenet_v2_1.0_224", "builtin:tiny-64")
    )
    return tmp_path


@pytest.mark.parametrize("printed", cheap())
def test_a_printed_command_runs(printed, place, cache, command, monkeypatch):
    if "--for web" in printed:
        try:
            runtime.prepared("wasm")
        except EdgeTransferError as error:
            pytest.skip(str(error))
    else:
        monkeypatch.setenv("EDGETRANSFER_CACHE", str(cache))
    code, out, error = command(*shlex.split(printed))
    assert (code, error.count("error:")) == (0, 0), out + error


@pytest.mark.parametrize("language", ["python", "js", "kotlin"])
def test_an_app_is_told_the_same_by_our_pages_and_by_the_readme_of_a_bundle(language, built):
    """`test_readme` runs the latter."""
    told = (built.folders["this-machine"] / "README.md").read_text(encoding="utf-8")
    told = told.replace("private ", "").replace(", options)", ")")  # of a machine without VNNI
    lines = {line.strip() for line in told.splitlines()}
    fence = re.compile(rf"^ *```{language}\n(.*?)```", re.MULTILINE | re.DOTALL)
    code = [each for text in texts() for each in fence.findall(text) if "model.onnx" in each]
    code = [each for each in code if "tokenizer" not in each]
    assert len(code) >= 2
    assert [each for one in code for each in one.splitlines() if each.strip() not in lines] == []
