"""A float network, a slightly different one in its place, pictures and texts to run them on."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.data.manifest import Example
from edgetransfer.graph.prepare import PicturePreparer, TextPreparer
from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing

CONTRACT = ImagePreprocessing(
    shortest_edge=10, crop=(8, 8), interpolation="bicubic", mean=(0.4, 0.5, 0.6)
)


def model_of(nodes, constants, inputs, opset):
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, [output], initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    return model


@pytest.fixture(scope="session")
def core():
    """A network of pictures, by the seed of its weights and the operator set."""

    def make(seed=0, opset=20):
        generator = np.random.default_rng(seed)
        shapes = {"w": (4, 3, 3, 3), "hw": (4, 3)}
        constants = {k: generator.normal(size=v).astype(np.float32) for k, v in shapes.items()}
        nodes = [
            helper.make_node("Conv", ["input", "w"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("ReduceMean", ["r", "space"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "hw"], ["logits"]),
        ]
        picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])
        return model_of(nodes, {**constants, "space": np.array([2, 3])}, [picture], opset)

    return make


@pytest.fixture(scope="session")
def text_core():
    """A network of token ids and their mask: sums of embeddings."""
    table = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["embedded", "wide"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "tokens"], ["logits"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    constants = {"table": table, "last": np.array([2]), "tokens": np.array([1])}
    return model_of(nodes, constants, inputs, 20)


def example(number, path=None, text=None):
    return Example(str(number), path, text, "abc"[number % 3], "train", {}, "digest")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Three examples of different sizes, and their pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(1)
    pixels = [generator.integers(0, 256, (12 + i, 20 - 4 * i, 3), np.uint8) for i in range(3)]
    for number, array in enumerate(pixels):
        Image.fromarray(array).save(folder / f"{number}.png")
    return [example(i, folder / f"{i}.png") for i in range(3)], pixels


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    vocabulary = {"[UNK]": 0, "ants": 1, "and": 2, "bees": 3}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    content = {"version": "1.0", "model": model, "pre_tokenizer": {"type": "Whitespace"}}
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    file.write_text(json.dumps({**content, "added_tokens": []}))
    return file


@pytest.fixture
def prepare():
    return PicturePreparer(CONTRACT)


@pytest.fixture
def prepare_text(tokenizer):
    return TextPreparer(TextPreprocessing(max_length=8), tokenizer)


@pytest.fixture
def run():
    def outputs(model, **inputs):
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
        return OnnxSession(source).run(inputs)[0]

    return outputs


@pytest.fixture
def contract():
    return CONTRACT
