"""A MobileNetV2 in the three forms that TensorRT is given, and engines of them.

TensorRT-RTX builds without a GPU, and its log tells every layer of the engine it built. Nothing is
executed. `make test-tensorrt` brings it; without it, these tests skip themselves.
"""

import re
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgetransfer.agent.runtimes.tensorrt import build as tensorrt_build
from edgetransfer.agent.runtimes.tensorrt.build import Settings
from edgetransfer.backbone.sources import load, locate
from edgetransfer.compress.posttraining import CalibrationBatches, quantise
from edgetransfer.compress.weights import to_half
from edgetransfer.graph.trace import Signature, trace
from edgetransfer.spec import catalogue
from edgetransfer.spec.catalogue import CalibrationRecipe

EXAMPLES = 16
LAYER = re.compile(r"^Name: (\S+), LayerType: (\w+), Inputs: \[(.*?)\]?, Constants: ", re.MULTILINE)
DATATYPE = re.compile(r"Datatype: (\w+)")


@pytest.fixture(scope="session")
def rtx():
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX comes by make test-tensorrt")
    return tensorrt_build.load("TensorRT-RTX")


@pytest.fixture(scope="session")
def scheme():
    (found,) = {
        each.int8
        for each in map(catalogue.target, catalogue.names("targets"))
        if each.runtime and each.runtime.name == "tensorrt"
    }
    return found


@pytest.fixture(scope="session")
def pictures():
    return np.random.default_rng(0).normal(size=(2 * EXAMPLES, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="session")
def floats(pictures):
    """The built-in backbone: 22 convolutions, 8 of them depthwise, and 4 sums."""
    torch.set_num_threads(1)
    network = load(locate("builtin:tiny-64"), "image").network
    return trace(network, [pictures[:2]], Signature(("input",), ("logits",)))


@pytest.fixture(scope="session")
def quantised(floats, pictures):
    """Quantise it, by the scheme."""

    def make(by):
        def batches():
            return iter({"input": part} for part in torch.from_numpy(pictures[:EXAMPLES]).split(8))

        with tempfile.TemporaryDirectory() as room:
            recipe = CalibrationRecipe(name="minmax", method="minmax")
            given = CalibrationBatches(batches, EXAMPLES, Path(room))
            return quantise(floats, by, recipe, given, equalised=False).graph()

    return make


@pytest.fixture(scope="session")
def graphs(floats, pictures, quantised, scheme):
    half, _ = to_half(floats, [{"input": pictures[:1]}])
    integers, _ = to_half(quantised(scheme), [{"input": pictures[:1]}])
    return {"fp32": floats, "fp16": half, "int8": integers}


@pytest.fixture(scope="session")
def build(rtx, tmp_path_factory):
    """Build an engine for a compute capability; return it and what was said of its layers."""

    def make(model, capability="8.9", **settings):
        heard = []

        class Log(rtx.ILogger):
            def __init__(self):
                rtx.ILogger.__init__(self)
                self.words = []

            def log(self, severity, text):
                heard.append(text)
                if severity in (rtx.ILogger.ERROR, rtx.ILogger.INTERNAL_ERROR):
                    self.words.append(text)

        file = tmp_path_factory.mktemp("graph") / "model.onnx"
        onnx.save(model, file)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensorrt_build, "logger", lambda trt: Log())
            built = tensorrt_build.build(
                rtx, str(file), Settings(compute_capability=capability, **settings)
            )
        return built, layers_of("\n".join(heard))

    return make


def layers_of(log):
    """Read the layers out of a log, in the form of the inspector's JSON."""
    layers = []
    for name, kind, inputs in LAYER.findall(log):
        types = DATATYPE.findall(inputs)
        layers.append(
            {"Name": name, "LayerType": kind, "Inputs": [{"Datatype": each} for each in types]}
        )
    return {"Layers": layers}
