"""An engine of a bundle, built without its GPU; with TensorRT-RTX where `make test-tensorrt` is."""

import importlib.util
import json
import shutil

import pytest

from edgetransfer.bundle.opened import open_bundle, seal
from edgetransfer.spec import catalogue


@pytest.fixture(scope="module")
def for_rtx(built, tmp_path_factory):
    """The bundle of the suite, as one for TensorRT-RTX: its floats are what that takes too."""
    (folder,) = (path for path in built.folders.values())
    made = tmp_path_factory.mktemp("rtx") / "bundle"
    shutil.copytree(folder, made)
    for report in made.glob("report.*"):  # it judged another manifest
        report.unlink()
    shutil.copyfile(made / "measure/reference.onnx", made / "measure/core.onnx")
    manifest = open_bundle(folder).manifest
    target = catalogue.target("nvidia-rtx-jit")
    facts = {
        key: value for key, value in manifest.items() if key not in ("schema", "files", "seal")
    }
    session = {"threads": 1, "config": target.session.config}
    seal(made, {**facts, "target": target.model_dump(mode="json"), "session": session})
    return made


def test_a_bundle_for_another_runtime_is_refused(command, built):
    (folder,) = built.folders.values()
    code, _, err = command("engine", folder, "--compute-capability", "8.9")
    assert (code, err) == (
        3,
        f"error: {folder}: an engine is built of a bundle for TensorRT\n"
        "  found: a bundle for this-machine\n"
        "  fix: name a target for TensorRT in `build --target`: `targets` lists them\n",
    )


def test_a_capability_is_two_numbers(command, for_rtx):
    code, _, err = command("engine", for_rtx, "--compute-capability", "../8")
    assert (code, err) == (
        3,
        "error: --compute-capability: not a compute capability\n"
        "  found: '../8'\n"
        "  expected: two numbers: 8.9\n",
    )


def test_without_tensorrt_rtx_the_line_that_installs_it_is_told(command, for_rtx, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx_bindings", None)
    code, _, err = command("engine", for_rtx, "--compute-capability", "8.9")
    assert code == 6
    assert "TensorRT-RTX cannot be loaded here" in err
    assert err.endswith("pip install tensorrt-rtx\n")


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None,
    reason="TensorRT-RTX comes by make test-tensorrt",
)
def test_an_engine_is_built_without_a_gpu(command, for_rtx, tmp_path):
    file = tmp_path / "new" / "engine.plan"
    words = ("engine", for_rtx, "--compute-capability", "8.9", "--out", file, "--json")
    code, out, err = command(*words)
    assert code == 0, err
    told = json.loads(out)
    assert told["bytes"] == file.stat().st_size > 100_000
    assert told["runtime"].startswith("TensorRT-RTX 1.")
    code, _, err = command("engine", for_rtx, "--compute-capability", "8.7", "--out", file)
    assert code == 6
    assert "compute capability 8.7: this TensorRT builds for 7.5, 8.0, 8.6, 8.9, 12.0, 12.1" in err
