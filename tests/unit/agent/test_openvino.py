"""A model in OpenVINO: the same interface, the same numbers, and nobody is told."""

import json
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edgetransfer.agent.main import SCHEMA
from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.runtimes import openvino as plugin
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.agent.runtimes.openvino import OpenVinoSession

pytest.importorskip("openvino")
ROWS = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """One convolution between 8-bit codes, and one in float, as our bundles write them."""
    rng = np.random.default_rng(0)
    tensors = {
        "codes": rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8),
        "weight": rng.normal(size=(4, 8, 1, 1)).astype(np.float32),
        "scale": np.float32(0.05),
        "zero": np.uint8(128),
        "step": np.float32(0.01),
    }
    layers = [
        ("QuantizeLinear", ["x", "scale", "zero"], "xq"),
        ("DequantizeLinear", ["xq", "scale", "zero"], "xd"),
        ("DequantizeLinear", ["codes", "step"], "w"),
        ("Conv", ["xd", "w"], "y"),
        ("QuantizeLinear", ["y", "scale", "zero"], "yq"),
        ("DequantizeLinear", ["yq", "scale", "zero"], "yd"),
        ("Conv", ["yd", "weight"], "logits"),
    ]
    nodes = [helper.make_node(kind, taken, [made], name=f"node_{made}")
             for kind, taken, made in layers]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4, 6, 6])],
        initializer=[numpy_helper.from_array(np.array(v), k) for k, v in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    file = tmp_path_factory.mktemp("two") / "core.onnx"
    save(model, file)
    return file


def test_it_gives_what_onnx_runtime_gives(model):
    session = OpenVinoSession(str(model))
    assert (session.input_names, session.output_names) == (["x"], ["logits"])
    for row in ROWS[:, None]:
        (found,) = session.run({"x": row})
        np.testing.assert_allclose(found, OnnxSession(str(model)).run({"x": row})[0], rtol=1e-5)


def test_an_output_is_not_written_over_by_the_next_run(model):
    session = OpenVinoSession(str(model))
    (first,) = session.run({"x": ROWS[:1]})
    kept = first.copy()
    session.run({"x": ROWS[1:2]})
    assert first.tobytes() == kept.tobytes()


def test_batches_of_any_size_where_they_are_asked_for(model):
    session = OpenVinoSession(str(model), one=False)
    for rows in (ROWS[:2], ROWS):
        assert session.run({"x": rows})[0].shape == (len(rows), 3)


def test_ports_and_facts(model):
    session = OpenVinoSession(str(model))
    assert session.ports() == {
        "inputs": [{"name": "x", "type": "float32", "shape": [None, 4]}],
        "outputs": [{"name": "logits", "type": "float32", "shape": [None, 3]}],
    }
    name, _, version = session.facts["runtime"].partition(" ")
    assert (name, session.facts["provider"], session.built_ms) == ("openvino", "OpenVINO", 0.0)
    assert session.facts["build"].startswith(version)


def test_it_tells_which_layers_run_in_integers(quantised, tmp_path):
    OpenVinoSession(str(quantised), optimised_to=str(tmp_path / "layers.json"))
    assert json.loads((tmp_path / "layers.json").read_text()) == {
        "layers": [
            {"kind": "convolution", "name": "node_y", "type": "int8"},
            {"kind": "convolution", "name": "logits", "type": "fp32"},
        ]
    }


def test_a_file_that_it_does_not_take(tmp_path):
    (tmp_path / "odd.onnx").write_bytes(b"no model")
    for model, name in ((b"no model", "the model"), (tmp_path / "odd.onnx", "{}/odd.onnx")):
        with pytest.raises(Unavailable) as caught:
            OpenVinoSession(model)
        told = str(caught.value)
        assert told.startswith(f"OpenVINO does not take {name.format(tmp_path)}: ")
        assert len(told.splitlines()) == 1


def test_where_it_is_not_installed_that_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(Unavailable) as caught:
        plugin.load()
    assert str(caught.value) == (
        "OpenVINO cannot be loaded here (import of openvino halted; None in sys.modules): "
        "python3 -m pip install openvino"
    )


def test_its_telemetry_is_off(tmp_path):
    """What its tools send data by is not imported, though it is there."""
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('telemetry is loaded')\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from edgetransfer.agent.runtimes.openvino import load\n"
        "load().convert_model\n"
        "print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")


def test_a_device_needs_no_other_runtime(variant, tmp_path):
    """With OpenVINO alone a job is done, and timed."""
    asked = {
        "schema": SCHEMA,
        "action": "time",
        "out": str(tmp_path),
        "variants": [variant("candidate", provider="OpenVINO", runtime="openvino")],
        "plan": {"blocks": 3, "block_s": 0.002, "warmup_s": 0.0, "warmup_max_s": 0.02},
        "guard": {"cooldown_s": 0.0, "baseline_ns": None},
        "seed": 0,
    }
    (tmp_path / "job.json").write_text(json.dumps(asked))
    program = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from edgetransfer.agent.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "job.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["floor_ns"] > 0
