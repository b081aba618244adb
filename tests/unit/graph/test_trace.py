"""A torch module becomes a graph that computes the same, with nothing of this machine in it."""

import getpass
import platform
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgetransfer.errors import StageError
from edgetransfer.graph import trace as tracing
from edgetransfer.graph.trace import Signature, trace

FIX = (
    "  fix: export it yourself and give the .onnx file with --backbone FILE --fit none; for a "
    "classifier, install the extra optimum, whose exporter --fit none then tries"
)


def by_torch(network, *inputs):
    with torch.no_grad():
        return network(*map(torch.from_numpy, inputs)).numpy()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_computes_what_torch_computes_at_any_batch_size(network, traced, pictures, run, count):
    batch = pictures[:count]
    np.testing.assert_allclose(run(traced, input=batch)[0], by_torch(network, batch), atol=1e-5)


def test_batch_norms_and_padding_are_folded(traced, kinds):
    found = kinds(traced)
    assert found.count("Conv") == 2
    assert not {"BatchNormalization", "Pad", "Cast", "Identity"} & set(found)


def test_inputs_outputs_and_versions_are_as_asked(traced):
    (value,) = traced.graph.input
    (output,) = traced.graph.output
    shapes = [
        [size.dim_value or size.dim_param for size in each.type.tensor_type.shape.dim]
        for each in (value, output)
    ]
    assert (value.name, output.name) == ("input", "logits")
    assert shapes == [["batch", 3, 16, 16], ["batch", 5]]
    assert (traced.opset_import[0].version, traced.ir_version) == (20, 10)
    onnx.checker.check_model(traced, full_check=True)


def test_tracing_twice_gives_the_same_bytes(network, traced, pictures):
    again = trace(network, [pictures[2:]], Signature(("input",), ("logits",)))
    assert again.SerializeToString() == traced.SerializeToString()


def test_nothing_of_this_machine_remains(traced):
    assert not traced.metadata_props
    for part in [traced.graph, *traced.graph.node, *traced.graph.value_info]:
        assert not part.doc_string
        assert not part.metadata_props
    content = traced.SerializeToString()
    places = {str(Path.home()), str(Path(torch.__file__).parent), str(Path(__file__).parent)}
    for word in (*places, "site-packages", "conftest", platform.node()):
        assert word.encode() not in content, word
    assert getpass.getuser() not in [each.key for each in traced.metadata_props]


@pytest.mark.parametrize("shape", [(1, 7), (3, 2), (2, 11)])
def test_two_free_axes(text_network, traced_text, run, shape):
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 20, shape)
    mask = np.ones(shape, np.int64)
    mask[0, 1:] = 0
    logits = run(traced_text, input_ids=ids, attention_mask=mask)[0]
    np.testing.assert_allclose(logits, by_torch(text_network, ids, mask), atol=1e-5)


class Branches(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


class Silent(nn.Module):
    def forward(self, x):
        raise AssertionError


class Wrapped(nn.Module):
    def forward(self, x):
        try:
            return x.nothing
        except AttributeError as error:
            raise RuntimeError("the network failed") from error


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Branches(), "Could not guard on data-dependent expression Eq(u0, 1)"),
        (Silent(), "AssertionError()"),
        (Wrapped(), "'FakeTensor' object has no attribute 'nothing'"),
    ],
)
def test_what_cannot_be_traced(module, reason, capfd):
    """The reason is the network's own, not the exporter's advice; nothing else is printed."""
    with pytest.raises(StageError) as caught:
        trace(module, [np.ones((2, 3), np.float32)], Signature(("x",), "y"))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{type(module).__name__}: torch could not export the network to ONNX"
    assert lines[1].startswith(f"  found: {reason}")
    assert lines[2:] == [FIX]
    assert tuple(capfd.readouterr()) == ("", "")


class Sized(nn.Module):
    """Takes the number of examples for a number of Python's."""

    def forward(self, x):
        return (x * 2).reshape(int(x.shape[0]), -1)


class Clipped(nn.Module):
    """Goes another way for dark pictures, none of which it is traced with."""

    def forward(self, x):
        return x if bool((x > 0.5).any()) else x * 0


class Averaged(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return self.layers(x).flatten(1)


def test_a_number_of_examples_that_the_network_reads_is_not_fixed():
    with pytest.raises(StageError, match="takes the network for one size of examples only"):
        trace(Sized(), [np.ones((2, 3, 4), np.float32)], Signature(("x",), ("y",)))


def test_a_way_that_was_not_taken_is_not_forgotten():
    with pytest.raises(StageError, match="torch could not export the network to ONNX"):
        trace(Clipped(), [np.ones((2, 3, 4), np.float32)], Signature(("x",), ("y",)))


class Checked(Averaged):
    """Asks for its sizes, as many networks do."""

    def forward(self, x):
        if x.shape[1] != 3 or int(x.shape[2]) < 3:
            raise ValueError
        return super().forward(x)


def test_sizes_that_are_looked_at_are_no_reason_not_to_record(monkeypatch):
    monkeypatch.setattr(tracing, "_exported", None)
    trace(Checked(), [np.ones((2, 3, 8, 8), np.float32)], Signature(("x",), ("y",)))


def test_both_exporters_give_the_same_operators(kinds, monkeypatch):
    made = [np.ones((2, 3, 8, 8), np.float32)], Signature(("x",), ("y",))
    network = Averaged()
    quick = kinds(trace(network, *made))
    monkeypatch.setattr(tracing, "record", lambda *_: None)
    assert quick == kinds(trace(network, *made)) == ["Conv", "ReduceMean", "Reshape"]


class Positions(nn.Module):
    """Knows its number of tokens when it is traced only."""

    def forward(self, ids, mask):
        positions = torch.tensor(list(range(ids.shape[1])))
        return (ids * positions * mask).sum(1, keepdim=True).float()


def test_a_length_that_the_exporter_fixed_is_noticed():
    example = [np.ones((2, 7), np.int64)] * 2
    names = ("input_ids", "attention_mask")
    with pytest.raises(StageError) as caught:
        trace(Positions(), example, Signature(names, ("logits",), ("batch", "length")))
    assert str(caught.value) == (
        "Positions: torch's exporter takes the network for one size of examples only\n"
        "  found: input_ids ['batch', 7]\n"
        f"  expected: a free batch and a free length\n{FIX}"
    )
