"""Gates that prove that the right thing was run (G0, G1, G2, G8), and those that were not run."""

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.measure import proofs
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.proofs import (
    Contract,
    Export,
    Integrity,
    IntendedPrecision,
    Port,
    TensorParity,
    takes,
    tensor_parity,
)

INPUT = Port("input", "float32", ("batch", 3, 64, 64))
LOGITS = Port("logits", "float32", ("batch", 2))
CONTRACT = Contract(
    {"core.onnx": (INPUT, LOGITS)},
    {"core.onnx": (INPUT, replace(LOGITS, shape=("N", 2)))},
    20,
    10,
    "onnxruntime 1.32.0",
    "1.19.2",
)
VERSION = "opset 20, IR 10, opened by onnxruntime 1.32.0"


@pytest.mark.parametrize(
    ("gate", "status", "message"),
    [
        (
            proofs.contract(CONTRACT),
            "PASS",
            f"contract: 2 inputs and outputs of 1 files are as promised ({VERSION})",
        ),
        (
            proofs.contract(
                replace(CONTRACT, found={"core.onnx": (INPUT, replace(LOGITS, shape=("batch", 3)))})
            ),
            "FAIL",
            "contract: core.onnx has input float32 [batch, 3, 64, 64], logits float32 [batch, 3],"
            " expected input float32 [batch, 3, 64, 64], logits float32 [batch, 2]"
            f" ({VERSION})",
        ),
        (
            proofs.contract(replace(CONTRACT, found={})),
            "FAIL",
            "contract: core.onnx has nothing, expected input float32 [batch, 3, 64, 64],"
            f" logits float32 [batch, 2] ({VERSION})",
        ),
        (
            proofs.contract(replace(CONTRACT, opset=22, ir_version=14)),
            "FAIL",
            "contract: the oldest runtime that the target names, 1.19.2, reads opset 21 at most;"
            " the oldest runtime that the target names, 1.19.2, reads IR 10 at most"
            " (opset 22, IR 14, opened by onnxruntime 1.32.0)",
        ),
        (
            proofs.contract(replace(CONTRACT, loads=True)),
            "PASS",
            "contract: 2 inputs and outputs of 1 files are as promised"
            f" ({VERSION}, which a child process imports)",
        ),
        (
            proofs.contract(
                replace(CONTRACT, loads=False, why_not="import onnxruntime was killed by SIGSEGV")
            ),
            "FAIL",
            f"contract: import onnxruntime was killed by SIGSEGV ({VERSION})",
        ),
        (
            proofs.integrity(Integrity({"core.onnx": ("a", "a")}, 1e-5, 20.0, 12)),
            "PASS",
            "integrity: 1 files there have the digests of those here;"
            " model.onnx gives the outputs of core.onnx within 1.0e-05 on 12 examples",
        ),
        (
            proofs.integrity(Integrity({}, 0.0, 20.0, 12)),
            "PASS",
            "integrity: model.onnx gives the outputs of core.onnx within 0.0e+00 on 12 examples",
        ),
        (
            proofs.integrity(Integrity({"core.onnx": ("a", "b")}, 0.5, 20.0, 12)),
            "FAIL",
            "integrity: core.onnx is another file there; model.onnx does not give the outputs of"
            " core.onnx: they differ by 0.5 on 12 examples",
        ),
        (
            proofs.integrity(Integrity({}, 0.18, 15.0, 12, 0.31)),
            "PASS",
            "integrity: model.onnx gives the outputs of core.onnx within 1.8e-01 on 12 examples;"
            " the runtime rounds once what both files round twice, and quantising moved outputs by"
            " 3.1e-01",
        ),
        (
            proofs.integrity(Integrity({}, 0.32, 15.0, 12, 0.31)),
            "FAIL",
            "integrity: model.onnx does not give the outputs of core.onnx: they differ by 0.32 on"
            " 12 examples",
        ),
        (
            proofs.preprocessing(TensorParity(1.0, 0.02, 12)),
            "PASS",
            "preprocessing: 12 pictures prepared there differ from the training's by 1.00 of 255"
            " levels at most (mean 0.020), 2 (mean 0.25) allowed",
        ),
        (
            proofs.preprocessing(TensorParity(50.0, 5.9, 12)),
            "FAIL",
            "preprocessing: 12 pictures prepared there differ from the training's by 50.00 of 255"
            " levels at most (mean 5.900), 2 (mean 0.25) allowed",
        ),
        (
            proofs.export(Export(3e-5, 15.0, 1.0, 16, 0)),
            "PASS",
            "export: the graph gives the network's outputs within 2.0e-06 of their range on 16"
            " examples (smallest cosine 1.000000, 0 decisions changed), 0.001 allowed",
        ),
        (
            proofs.export(Export(3e-5, 15.0, 1.0, 16)),
            "PASS",
            "export: the graph gives the network's outputs within 2.0e-06 of their range on 16"
            " examples (smallest cosine 1.000000), 0.001 allowed",
        ),
        (
            proofs.export(Export(3e-5, 15.0, 1.0, 16, 1)),
            "FAIL",
            "export: the graph gives the network's outputs within 2.0e-06 of their range on 16"
            " examples (smallest cosine 1.000000, 1 decisions changed), 0.001 allowed",
        ),
    ],
)
def test_what_ran_is_what_was_built(gate, status, message):
    assert (gate.message, gate.status) == (message, status)
    assert gate.decides


@pytest.mark.parametrize(
    ("gate", "code", "decides"),
    [
        (proofs.contract, "G0", True),
        (proofs.integrity, "G0", True),
        (proofs.preprocessing, "G1", True),
        (proofs.export, "G2", True),
        (proofs.fusion, "G4", False),
        (proofs.determinism, "G7", True),
        (proofs.rebuild, "G12", False),
    ],
)
def test_what_was_not_looked_at_is_not_run_and_says_why(gate, code, decides):
    made = gate(Missing("the link broke"))
    assert (made.status, made.code, made.decides) == ("NOT RUN", code, decides)
    assert made.message == f"{made.name}: the link broke"
    assert made.measured is None


def test_releases_between_two_that_were_tried_take_what_the_older_one_does():
    assert takes("1.22.1") == takes("1.19.2") == (21, 10)
    assert takes("1.18.0") is None
    assert takes("of today") is None


def test_a_level_is_one_of_255_of_its_own_channel():
    here = np.zeros((2, 3, 4, 4), np.float32)
    there = here.copy()
    there[0, 1, 2, 2] = 0.02
    found = tensor_parity(here, there, np.array([0.01, 0.02, 0.04]))
    assert found.max_levels == pytest.approx(1)
    assert found.mean_levels == pytest.approx(1 / 96)
    assert found.examples == 2


def test_a_port_of_any_batch_takes_no_other_type_or_rank():
    assert INPUT.fits(replace(INPUT, shape=(1, 3, 64, 64)))
    assert not replace(INPUT, shape=(1, 3, 64, 64)).fits(INPUT)
    assert not INPUT.fits(replace(INPUT, dtype="float16"))
    assert not INPUT.fits(replace(INPUT, shape=("batch", 3, 64)))
    assert not INPUT.fits(replace(INPUT, name="image"))


@pytest.mark.parametrize(
    ("found", "intended", "status", "message"),
    [
        ((0, 52, ()), IntendedPrecision(52, ()), "PASS", "52 of 52 Conv run in int8"),
        (
            (2, 50, ("Conv /a", "FusedConv /b")),
            IntendedPrecision(50, ("/a", "/b")),
            "PASS",
            "50 of 52 Conv run in int8, 2 in float on purpose",
        ),
        (
            (2, 50, ("Conv /a", "FusedConv /b", "Gemm /head")),
            IntendedPrecision(51, ("/b",)),
            "FAIL",
            "1 Conv that the bundle has in int8 run in float: Conv /a",
        ),
        (
            (15, 37, tuple(f"Conv /{i}" for i in range(15))),
            IntendedPrecision(52, ()),
            "FAIL",
            "15 Conv that the bundle has in int8 run in float: Conv /0, Conv /1, Conv /2, Conv /3,"
            " Conv /4, Conv /5, Conv /6, Conv /7, and more",
        ),
        (
            (52, 0, ()),
            IntendedPrecision(0, tuple(f"/{i}" for i in range(52))),
            "PASS",
            "all 52 Conv are floats on purpose",
        ),
        ((0, 0, ("Gemm /head",)), IntendedPrecision(0, ()), "PASS", "no Conv among the operators"),
    ],
)
def test_residency_is_held_against_what_the_bundle_says(found, intended, status, message):
    gate = proofs.residency(
        dict(zip(("float_conv", "int8_conv", "float_ops"), found, strict=True)), intended
    )
    assert (gate.message, gate.status) == (f"residency: {message}", status)
    assert gate.decides


def test_residency_is_not_run_where_the_graph_was_not_seen():
    assert proofs.residency({}, IntendedPrecision(52, ())).message == (
        "residency: the graph was not looked at"
    )
    found = {"float_conv": 0, "int8_conv": 1, "float_ops": []}
    assert proofs.residency(found, Missing("a browser has no graph")).message == (
        "residency: a browser has no graph"
    )
