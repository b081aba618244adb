"""The measure stage: what was judged is what was timed, and floats that are shipped as they are."""

from pathlib import Path

import numpy as np
import pytest

from edgetransfer.agent.benchmark import OpenedVariant
from edgetransfer.agent.outputs import Outputs
from edgetransfer.bundle.opened import Bundle
from edgetransfer.pipeline.bench import measure


class Answering:
    """Gives the row of logits that an example names."""

    output_names = ("logits",)

    def __init__(self, rows):
        self.rows = rows

    def run(self, example):
        return [self.rows[example : example + 1]]


@pytest.mark.parametrize("count", [1, 4, 9])
def test_judged_outputs_have_the_digest_that_the_agent_tells_of_a_timed_session(count):
    rows = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    fields = dict.fromkeys(OpenedVariant._fields)
    opened = OpenedVariant(**{**fields, "session": Answering(rows), "examples": range(count)})
    assert measure._digest(Outputs({"logits": rows})) == opened.digest()


def test_the_floats_themselves_are_shipped_where_both_files_are_one():
    files = {"reference.onnx": "a", "core.onnx": "a", "model.onnx": "b"}
    assert measure.same_network(Bundle(Path(), {"files": files}))
    assert not measure.same_network(Bundle(Path(), {"files": {**files, "core.onnx": "b"}}))
    once = {
        "files": {"model.onnx": "b", "core.onnx": "a"},
        "stored_as": {"reference.onnx": "core.onnx"},
    }
    assert measure.same_network(Bundle(Path(), once))
