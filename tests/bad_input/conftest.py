"""A small whole bundle, made without a build, and the program run here with a watchdog."""

import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save_file

from edgetransfer.agent.outputs import Outputs
from edgetransfer.bundle.opened import MEASURE, seal, seal_report
from edgetransfer.cli import app
from edgetransfer.data.manifest import Example
from edgetransfer.export.onnx_bundle import BundleParts, write_bundle
from edgetransfer.graph.prepare import PicturePreparer
from edgetransfer.measure.measurement import Measurement
from edgetransfer.measure.record import make_report
from edgetransfer.spec.budget import Budget
from edgetransfer.spec.preprocess import ImagePreprocessing
from edgetransfer.tasks.classification.head.new_class import FeatureStatistics
from edgetransfer.tasks.classification.ship.head_files import STATISTICS, write_statistics
from edgetransfer.tasks.classification.task import TASK

LABELS = ("ant", "bee", "wasp")
CONTRACT = ImagePreprocessing(exact=(8, 8))
SECONDS = 20


def network(seed):
    rng = np.random.default_rng(seed)
    weights = {"w": (4, 3, 3, 3), "hw": (3, 4), "hb": (3,)}
    constants = {name: rng.normal(size=size).astype(np.float32) for name, size in weights.items()}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r", "space"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "hw", "hb"], ["logits"], transB=1),
    ]
    tensors = [numpy_helper.from_array(each, name) for name, each in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([2, 3]), "space"))
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "g", [picture], [logits], initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Eight pictures of each class."""
    folder = tmp_path_factory.mktemp("pictures") / "set"
    rng = np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for index in range(8):
            rows = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(rows).save(folder / label / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def sound(tmp_path_factory, pictures, facts):
    """A bundle with nothing wrong."""
    folder = tmp_path_factory.mktemp("sound") / "bundle"
    folder.mkdir()
    golden = [
        Example(label, pictures / label / "0.png", None, label, "test", {}, label)
        for label in LABELS
    ]
    rng = np.random.default_rng(1)
    statistics = FeatureStatistics(
        rng.normal(size=(3, 4)).astype(np.float32),
        np.array([8, 8, 8]),
        np.eye(4, dtype=np.float32)[:2],
        np.ones(2, np.float32),
        np.ones(4, np.float32),
    )
    parts = BundleParts(network(0), network(1), CONTRACT, None, LABELS, golden, ["0" * 64])
    write_bundle(folder, parts, PicturePreparer(CONTRACT))
    write_statistics(folder / MEASURE / STATISTICS, statistics)
    bundle = seal(folder, facts)
    truth = np.arange(30) % 3
    logits = rng.normal(size=(30, 3)).astype(np.float32)
    report = make_report(
        Measurement(TASK, "mine", LABELS, Outputs({"logits": logits}),
              Outputs({"logits": logits + 0.01}), truth, Budget(),
              reference_bytes=900, candidate_bytes=300)
    )  # fmt: skip
    seal_report(report, bundle)
    (folder / "report.json").write_text(json.dumps(report))
    kinds = {"arm64": {"bit_equal": True, "where": "ssh:x", "examples": 3}}
    record = {"schema": "edgetransfer.portability/1", "portable_exact": False, "kinds": kinds}
    (folder / "portability.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="session")
def head(sound, tmp_path_factory):
    from edgetransfer.tasks.classification.ship.heads import export_heads

    file = tmp_path_factory.mktemp("head") / "head.safetensors"
    export_heads(sound, file)
    return file


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    """The built-in backbone as a folder of one's own."""
    from edgetransfer.backbone.sources import WEIGHTS

    folder = tmp_path_factory.mktemp("backbone") / "mine"
    shutil.copytree(WEIGHTS / "tiny-64", folder)
    return folder


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """A folder that looks like one of transformers; no test gets as far as its weights."""
    folder = tmp_path_factory.mktemp("encoder") / "theirs"
    folder.mkdir()
    save_file({"w": np.zeros(1, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "vit"}')
    return folder


@pytest.fixture
def copy(tmp_path):
    """Copy a folder by links; what is changed in the copy has to be written anew."""

    def make(folder):
        return shutil.copytree(folder, tmp_path / folder.name, copy_function=os.link)

    return make


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


class Hung(BaseException):
    """A command took too long."""


@pytest.fixture
def run(monkeypatch, capfd, tmp_path, cache):
    """Run a command; return its exit code and its message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(cache))
    monkeypatch.delenv("EDGETRANSFER_DEBUG", raising=False)

    def hang(*_):
        raise Hung

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["edgetransfer", *map(str, words)])
        kept = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGALRM, hang)
        signal.alarm(SECONDS)
        try:
            with pytest.raises(SystemExit) as ended:
                app.main()
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGINT, kept[0])
            signal.signal(signal.SIGALRM, kept[1])
        told = capfd.readouterr()
        assert "Traceback" not in told.err + told.out
        assert "broke down" not in told.err, told.err
        table = told.out if words[0] == "matrix" else ""  # which tells of each cell in its place
        return ended.value.code, told.err + table

    return call


@pytest.fixture
def refused(run):
    """Run a command that has to be refused; return its exit code and its message."""

    def call(*words):
        code, told = run(*words)
        assert code in range(2, 10), (code, told)
        assert code == 2 or "error: " in told or words[0] == "matrix"
        return code, told

    return call
