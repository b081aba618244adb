"""The peak memory that is told is the model's, however many examples it is judged on."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.transport.job import Job, Variant
from edgetransfer.transport.local import Local

SIDE, CLASSES = 64, 1000


@pytest.fixture
def model(tmp_path):
    weight = np.random.default_rng(0).normal(size=(CLASSES, 3)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(weight, "w")],
    )
    file = tmp_path / "model.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file
    )
    return str(file)


def test_peak_memory_is_not_that_of_the_test_set_a12(model, tmp_path):
    peaks = []
    for count in (200, 4000):  # 9 and 188 MiB of prepared pictures, 0.8 and 15 of logits
        file = tmp_path / f"{count}.npy"
        shape = (count, 3, SIDE, SIDE)
        np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)  # of zeros
        variant = Variant("candidate", model, {"x": str(file)})
        told = Local().run(Job("outputs", (variant,)), tmp_path)
        assert np.load(tmp_path / "output-0.npy", mmap_mode="r").shape == (count, CLASSES)
        peaks.append(told["peak_mib"])
        file.unlink()
    assert peaks[1] <= 1.1 * peaks[0]
