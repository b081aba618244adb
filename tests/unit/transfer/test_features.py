"""Rows come out in the order of the examples, and a head is the same in numpy and torch."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from edgetransfer.backbone.model import LinearHead
from edgetransfer.graph.hosted import open_here
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.transfer.features import BATCH, run_over, run_session


@pytest.fixture(scope="module")
def negative():
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "negative",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


class Numbers:
    """Prepares the number i as the row (i, i + 0.5), the odd ones before the even ones."""

    input_names = ("x",)

    def order(self, numbers):
        return np.argsort([number % 2 == 0 for number in numbers], kind="stable")

    def prepare(self, number):
        return {"x": np.array([[number, number + 0.5]], np.float32)}

    def join(self, batches):
        return {"x": np.concatenate([batch["x"] for batch in batches])}


COUNTS = pytest.mark.parametrize("count", [1, BATCH, BATCH + 1, 3 * BATCH - 1])


@COUNTS
def test_order_and_progress(negative, count):
    told = []
    rows = run_over(negative, Numbers(), range(count), progress=lambda *line: told.append(line))
    expected = -np.arange(count, dtype=np.float32)[:, None] - [0, 0.5]
    np.testing.assert_array_equal(rows, expected)
    assert rows.dtype == np.float32
    assert told[-1] == (count, count)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@COUNTS
@pytest.mark.parametrize("batch", [1, BATCH])
def test_outputs_come_in_order_alone_and_in_batches(negative, count, batch):
    told = []
    session = open_here(negative)
    found = run_session(
        session, Numbers(), range(count), lambda *line: told.append(line), batch=batch
    )
    expected = -np.arange(count, dtype=np.float32)[:, None] - [0, 0.5]
    np.testing.assert_array_equal(found["y"], expected)
    assert told[-1] == (count, count)


def test_what_is_changed_is_told_its_rows(negative):
    def change(batch, rows):
        np.testing.assert_array_equal(batch["x"][:, 0], rows)
        return {"x": batch["x"] * 0 + rows[:, None].astype(np.float32)}

    rows = run_over(negative, Numbers(), range(2 * BATCH + 1), change=change)
    np.testing.assert_array_equal(rows[:, 0], -np.arange(2 * BATCH + 1))


def test_a_head_is_the_same_in_numpy_and_in_torch():
    generator = np.random.default_rng(0)
    head = LinearHead(*(generator.normal(size=s).astype(np.float32) for s in ((3, 5), (3,))))
    features = generator.normal(size=(4, 5)).astype(np.float32)
    with torch.no_grad():
        logits = Classifier(nn.Identity(), head)(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(logits, head.logits(features), atol=1e-6)
    assert head.logits(features.astype(np.float64)).dtype == np.float32
