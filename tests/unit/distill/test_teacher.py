"""What a network says of a look is what it says of the shown pictures, and is small on disk."""

from functools import partial

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from edgetransfer.graph.embed import PREPARED
from edgetransfer.tasks.classification.train.distill import ask
from edgetransfer.transfer.features import BATCH
from edgetransfer.transfer.looks import Views

VIEWS = Views(seed=2, count=3)
PICTURES = np.random.default_rng(0).random((BATCH + 3, 3, 8, 8), np.float32)


@pytest.fixture(scope="module")
def flatten():
    graph = helper.make_graph(
        [helper.make_node("Flatten", [PREPARED], ["y"])],
        "flatten",
        [helper.make_tensor_value_info(PREPARED, TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 192])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


class Stored:
    """Prepares the picture that stands at a row."""

    def order(self, rows):
        return np.arange(len(rows))

    def prepare(self, row):
        return {PREPARED: PICTURES[row : row + 1]}

    def join(self, batches):
        return {PREPARED: np.concatenate([batch[PREPARED] for batch in batches])}


class Large(Stored):
    def prepare(self, row):
        return {PREPARED: 1e5 * PICTURES[row : row + 1]}


def test_the_network_is_asked_about_the_look(flatten):
    told = []
    rows = range(len(PICTURES))
    look = partial(VIEWS.look, 1)
    said = ask(flatten, Stored(), rows, look, progress=lambda *line: told.append(line))
    shown = VIEWS.show(torch.from_numpy(PICTURES), 1, np.array(rows)).flatten(1).numpy()
    np.testing.assert_allclose(said, shown, atol=1e-3)
    assert said.dtype == np.float16
    assert told[-1] == (len(PICTURES), len(PICTURES))


def test_what_16_bits_cannot_hold_is_kept_in_32_d1(flatten):
    said = ask(flatten, Large(), range(8), lambda batch, rows: batch)
    assert said.dtype == np.float32
    assert np.isfinite(said).all()


def test_texts_are_seen_as_they_are():
    batch = {"input_ids": np.array([[2, 5, 3]])}
    assert VIEWS.look(1, batch, np.array([0])) is batch
