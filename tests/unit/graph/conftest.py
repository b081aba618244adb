"""Small graphs and networks; what takes torch seconds to export is exported once a session."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgetransfer.errors import SpecError
from edgetransfer.graph.trace import Signature, trace
from edgetransfer.tasks.classification.own.own import take

torch.set_num_threads(1)
OPSET = 20
COUNT, CLASSES = 5, 4


class TinyNet(nn.Module):
    """Convolutions padded as TensorFlow does (more at the end), batch norms, a linear head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.first_norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, groups=8, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, pictures):
        x = nn.functional.pad(pictures, (0, 1, 0, 1))
        x = nn.functional.relu6(self.first_norm(self.first(x)))
        x = nn.functional.relu6(self.second_norm(self.second(x)))
        return self.head(x.mean(dim=(2, 3)))


class TinyText(nn.Module):
    """Mean of embeddings over the tokens that the mask lets through, of any number."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, ids, mask):
        mask = mask.unsqueeze(-1).float()
        return self.head((self.embedding(ids) * mask).sum(1) / mask.sum(1))


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    made = TinyNet()
    for norm in (made.first_norm, made.second_norm):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return made.eval()


@pytest.fixture(scope="session")
def pictures():
    return np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="session")
def traced(network, pictures):
    return trace(network, [pictures[:2]], Signature(("input",), ("logits",)))


@pytest.fixture(scope="session")
def text_network():
    torch.manual_seed(1)
    return TinyText().eval()


@pytest.fixture(scope="session")
def traced_text(text_network):
    example = [np.ones((2, 7), np.int64), np.ones((2, 7), np.int64)]
    names = ("input_ids", "attention_mask")
    return trace(text_network, example, Signature(names, ("logits",), ("batch", "length")))


@pytest.fixture
def normal():
    """Random float32 weights of a shape."""
    generator = np.random.default_rng(2)
    return lambda *shape: generator.normal(size=shape).astype(np.float32)


@pytest.fixture
def graph():
    """Make a model of ``x`` [N, 3, 9, 9] (or another input) from nodes and constants."""

    def make(nodes, constants, **kinds):
        given = {"inputs": {"x": ["N", 3, 9, 9]}, "outputs": {"y": None}, "opset": OPSET, **kinds}
        values = [
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in given[which].items()
            ]
            for which in ("inputs", "outputs")
        ]
        tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
        whole = helper.make_graph(nodes, "g", *values, initializer=tensors)
        model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", given["opset"])])
        model.ir_version = given.get("ir_version", 10)
        return model

    return make


@pytest.fixture
def kinds():
    """Names of the operators of a model, in order."""
    return lambda model: [node.op_type for node in model.graph.node]


@pytest.fixture
def run():
    from edgetransfer.agent.runtimes.onnxruntime import OnnxSession

    def outputs(model: onnx.ModelProto, **inputs):
        return OnnxSession(model.SerializeToString()).run(inputs)

    return outputs


@pytest.fixture
def weights(normal):
    return {"w": normal(6, 3, 3, 3), "b": normal(6), "hw": normal(CLASSES, 6), "hb": normal(4)}


@pytest.fixture
def saved(graph, tmp_path):
    def save(nodes, constants, **kinds):
        kinds = {"outputs": {"scores": ["N", CLASSES]}, **kinds}
        file = tmp_path / "mine.onnx"
        onnx.save(graph(nodes, constants, **kinds), file)
        return file

    return save


@pytest.fixture
def batches(normal):
    return [{"input": normal(1, 3, 9, 9)} for _ in range(COUNT)]


@pytest.fixture
def taken(run, batches):
    """Take a file and prove that it gives what the file gives, all examples at once."""

    def check(file):
        model, record = take(file, batches, CLASSES)
        (old,) = [value.name for value in onnx.load(file).graph.input][:1]
        expected = [run(onnx.load(file), **{old: batch["input"]})[0] for batch in batches]
        joined = np.concatenate([batch["input"] for batch in batches])
        np.testing.assert_allclose(run(model, input=joined)[0], np.concatenate(expected), atol=1e-5)
        assert [value.name for value in model.graph.input] == ["input"]
        assert [value.name for value in model.graph.output] == ["logits"]
        assert record["n"] == COUNT
        assert record["max_abs"] <= 1e-3 * record["range"]
        return model

    return check


@pytest.fixture
def message():
    """Return what is said where a file is refused."""

    def text_of(file, batches, classes=CLASSES, error=SpecError):
        with pytest.raises(error) as caught:
            take(file, batches, classes)
        return str(caught.value)

    return text_of
