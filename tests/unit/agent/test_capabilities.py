"""What a runtime takes is tried, not looked up."""

import onnx
import pytest

from edgetransfer.agent.environment import room_left
from edgetransfer.agent.runtimes import onnxruntime, other_runtimes
from edgetransfer.agent.system import System


@pytest.mark.parametrize(("ir_version", "opset"), [(8, 17), (13, 25)])
def test_the_model_that_is_tried_is_one(ir_version, opset):
    model = onnx.load_from_string(onnxruntime.identity(ir_version, opset))
    onnx.checker.check_model(model)
    assert (model.ir_version, model.opset_import[0].version) == (ir_version, opset)
    assert [node.op_type for node in model.graph.node] == ["Identity"]


def test_the_runtime_here_takes_what_we_write():
    told = onnxruntime.takes()
    assert told["ir_version"] >= 10
    assert told["opset"] >= 20


def test_the_room_that_is_left_is_told():
    told = room_left(System(read={"/proc/meminfo": "MemAvailable:  2048 kB"}.get))
    assert told["free_memory_mib"] == 2
    assert told["free_disk_mib"] > 0


def test_a_runtime_that_takes_nothing():
    assert onnxruntime.newest(bytes, 10, lambda _: False) == 0


def test_a_runtime_that_says_yes_to_everything_is_not_asked_for_ever():
    assert onnxruntime.newest(lambda _: b"", 10, lambda _: True) == 40


def test_other_runtimes_are_looked_for_and_not_loaded(monkeypatch):
    there = {"tensorrt_bindings": object()}
    monkeypatch.setattr("importlib.util.find_spec", there.get)
    monkeypatch.setattr("importlib.metadata.version", {"tensorrt_bindings": "10.13.2"}.__getitem__)
    assert other_runtimes() == {"TensorRT": "10.13.2"}
