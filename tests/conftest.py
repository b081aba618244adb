"""What all tests share: timm beside a torch without CUDA, emulated processors, what breaks them."""

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.errors import UnsupportedError
from edgetransfer.spec import catalogue
from edgetransfer.spec.catalogue import default_cache
from edgetransfer.transport import qemu

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a machine with other work is no reason to fail

_LIBRARY = None
if torch.version.cuda is None and importlib.util.find_spec("torchvision") is not None:
    # torchvision's wheel is for a torch with CUDA and its binary does not load beside this one, so
    # the two operators it describes while it is imported have to be declared. They are never run.
    _LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


LONGEST = ("test_resume.py", "test_real_data.py", "test_shared.py", "test_own_model.py")
"""Take up to two minutes, in one piece: begun last, all other workers would wait for them."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def facts():
    """What a manifest says at least."""
    evidence = {"status": "declared", "source": "me", "date": "2026-11-29"}
    return {
        "target": {"name": "mine", "title": "a machine", "evidence": evidence},
        "recipe": {"data": {"source": "photos"}},
        "session": {"threads": 1, "config": {}},
        "compression": {"precision": "w8a8", "ladder": []},
        "seed": 3,
    }


@pytest.fixture(scope="session")
def prepared():
    """Skip where an emulated processor is not prepared."""

    def check(where):
        preview = catalogue.preview(where.partition(":")[2])
        try:
            qemu.check_host(preview)
        except UnsupportedError as error:
            pytest.skip(str(error))
        if qemu.find(preview, default_cache()) is None:
            pytest.skip(f"not prepared: edgetransfer doctor --prepare {where}")

    return check


@pytest.fixture(scope="session")
def convolution():
    """Make a quantised convolution whose products overflow 16 bits in pairs."""
    return _convolution


def _convolution(activation):
    kind, lowest = (np.uint8, 0) if activation == "u8" else (np.int8, -128)
    rng = np.random.default_rng(0)
    arrays = {
        "scale": np.float32(1 / 255),
        "zero": np.array(lowest, kind),
        "weights": rng.integers(-127, 128, (8, 4, 3, 3)).astype(np.int8),
        "scales": np.full(8, 0.01, np.float32),
        "zeros": np.zeros(8, np.int8),
        "scale_out": np.float32(0.2),
        "zero_out": np.array(lowest + 128, kind),
    }
    nodes = [
        ("QuantizeLinear", ["x", "scale", "zero"], "codes", {}),
        ("DequantizeLinear", ["codes", "scale", "zero"], "values", {}),
        ("DequantizeLinear", ["weights", "scales", "zeros"], "kernel", {"axis": 0}),
        ("Conv", ["values", "kernel"], "sums", {}),
        ("QuantizeLinear", ["sums", "scale_out", "zero_out"], "sums_codes", {}),
        ("DequantizeLinear", ["sums_codes", "scale_out", "zero_out"], "out", {}),
        ("Flatten", ["out"], "logits", {}),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, ins, [out], **more) for kind, ins, out, more in nodes],
        activation,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 128])],
        initializer=[numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model
