"""Every operator of the table gives what ONNX Runtime gives, and lets gradients pass."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.compress import execution

F, WHOLE = np.float32, np.int64
RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype(F)


def ints(*numbers):
    return np.array(numbers, dtype=WHOLE)


CASES = {
    "AveragePool": (
        "AveragePool",
        [floats(2, 3, 6, 5)],
        {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]},
    ),
    "AveragePool over its padding": (
        "AveragePool",
        [floats(2, 3, 6, 5)],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1},
    ),
    "AveragePool up to the edge": (
        "AveragePool",
        [floats(2, 3, 6, 5)],
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    ),
    "MaxPool": ("MaxPool", [floats(2, 3, 6, 5)], {"kernel_shape": [3, 2], "strides": [2, 1]}),
    "MaxPool padded": (
        "MaxPool",
        [floats(2, 3, 6, 5)],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
    ),
    "MaxPool padded on one side": (
        "MaxPool",
        [floats(2, 3, 6, 5)],
        {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]},
    ),
    "Add broadcast": ("Add", [floats(2, 3, 4), floats(3, 1)], {}),
    "Clip both": ("Clip", [floats(2, 9), np.array(-0.3, F), np.array(0.5, F)], {}),
    "Clip low": ("Clip", [floats(2, 9), np.array(0.1, F)], {}),
    "Clip high": ("Clip", [floats(2, 9), None, np.array(0.1, F)], {}),
    "Clip no bounds": ("Clip", [floats(2, 9)], {}),
    "Concat": ("Concat", [floats(2, 3), floats(2, 1), floats(2, 2)], {"axis": -1}),
    "Conv": ("Conv", [floats(2, 3, 6, 5), floats(4, 3, 3, 2), floats(4)], {}),
    "Conv without bias": ("Conv", [floats(2, 3, 6, 5), floats(4, 3, 1, 1)], {}),
    "Conv pads": (
        "Conv",
        [floats(2, 3, 6, 5), floats(4, 3, 3, 3), floats(4)],
        {"pads": [1, 1, 1, 1], "strides": [2, 1]},
    ),
    "Conv asymmetric": (
        "Conv",
        [floats(2, 3, 6, 5), floats(4, 3, 3, 3)],
        {"pads": [0, 1, 2, 0], "strides": [2, 2]},
    ),
    "Conv dilated": (
        "Conv",
        [floats(1, 3, 9, 8), floats(4, 3, 3, 2)],
        {"dilations": [2, 3], "pads": [2, 0, 2, 0]},
    ),
    "Conv groups": ("Conv", [floats(2, 4, 5, 5), floats(6, 2, 3, 3), floats(6)], {"group": 2}),
    "Conv depthwise": (
        "Conv",
        [floats(2, 4, 5, 5), floats(4, 1, 3, 3)],
        {"group": 4, "pads": [1, 0, 0, 1]},
    ),
    "Conv 1d": ("Conv", [floats(2, 3, 9), floats(4, 3, 3), floats(4)], {"pads": [1, 2]}),
    "Conv 3d": ("Conv", [floats(1, 2, 4, 4, 4), floats(3, 2, 2, 2, 2)], {}),
    "Div": ("Div", [floats(2, 3), floats(3) + 5], {}),
    "Div of integers": ("Div", [ints(7, 9, -7), ints(2, 3, 2)], {}),
    "Erf": ("Erf", [floats(7)], {}),
    "Flatten": ("Flatten", [floats(2, 3, 4)], {}),
    "Flatten 0": ("Flatten", [floats(2, 3, 4)], {"axis": 0}),
    "Flatten negative": ("Flatten", [floats(2, 3, 4)], {"axis": -1}),
    "Gelu": ("Gelu", [floats(9)], {}),
    "Gelu tanh": ("Gelu", [floats(9)], {"approximate": "tanh"}),
    "Gemm": ("Gemm", [floats(2, 3), floats(3, 4), floats(4)], {}),
    "Gemm transposed": (
        "Gemm",
        [floats(3, 2), floats(4, 3), floats(1, 4)],
        {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0},
    ),
    "Gemm without bias": ("Gemm", [floats(2, 3), floats(4, 3)], {"transB": 1}),
    "GlobalAveragePool": ("GlobalAveragePool", [floats(2, 3, 4, 5)], {}),
    "HardSigmoid": ("HardSigmoid", [3 * floats(9)], {}),
    "HardSigmoid told": ("HardSigmoid", [3 * floats(9)], {"alpha": 1 / 6, "beta": 0.4}),
    "HardSwish": ("HardSwish", [3 * floats(9)], {}),
    "Identity": ("Identity", [floats(9)], {}),
    "LayerNormalization": (
        "LayerNormalization",
        [floats(2, 3, 4), floats(4), floats(4)],
        {"epsilon": 1e-3},
    ),
    "LayerNormalization axes": ("LayerNormalization", [floats(2, 3, 4), floats(3, 4)], {"axis": 1}),
    "LeakyRelu": ("LeakyRelu", [floats(9)], {}),
    "LeakyRelu told": ("LeakyRelu", [floats(9)], {"alpha": 0.3}),
    "MatMul": ("MatMul", [floats(2, 3, 4), floats(4, 5)], {}),
    "MatMul of batches": ("MatMul", [floats(2, 3, 4), floats(2, 4, 2)], {}),
    "Mul": ("Mul", [floats(2, 3), floats(2, 1)], {}),
    "Pow": ("Pow", [np.abs(floats(9)), np.array(1.5, F)], {}),
    "Pow of integer": ("Pow", [floats(9), np.array(2, WHOLE)], {}),
    "ReduceMean": ("ReduceMean", [floats(2, 3, 4), ints(1, -1)], {"keepdims": 0}),
    "ReduceMean kept": ("ReduceMean", [floats(2, 3, 4), ints(2)], {}),
    "ReduceMean all": ("ReduceMean", [floats(2, 3, 4)], {}),
    "Relu": ("Relu", [floats(9)], {}),
    "Reshape": ("Reshape", [floats(2, 3, 4), ints(0, -1)], {}),
    "Reshape allowzero": ("Reshape", [floats(0, 3), ints(3, 0)], {"allowzero": 1}),
    "Sigmoid": ("Sigmoid", [floats(9)], {}),
    "Softmax": ("Softmax", [floats(2, 3, 4)], {}),
    "Softmax axis": ("Softmax", [floats(2, 3, 4)], {"axis": 1}),
    "Sqrt": ("Sqrt", [np.abs(floats(9))], {}),
    "Squeeze": ("Squeeze", [floats(1, 3, 1), ints(-1)], {}),
    "Squeeze all": ("Squeeze", [floats(1, 3, 1)], {}),
    "Sub": ("Sub", [floats(2, 3), floats(3)], {}),
    "Tanh": ("Tanh", [floats(9)], {}),
    "Transpose": ("Transpose", [floats(2, 3, 4)], {"perm": [1, 2, 0]}),
    "Transpose reversed": ("Transpose", [floats(2, 3, 4)], {}),
    "Unsqueeze": ("Unsqueeze", [floats(2, 3), ints(-1, 0)], {}),
}
FALLBACKS = {
    "Gather": ("Gather", [floats(5, 3), ints(4, 0)], {}),
    "Slice": ("Slice", [floats(2, 8), ints(1), ints(7), ints(1), ints(2)], {}),
    "Elu": ("Elu", [floats(9)], {"alpha": 0.5}),
    "Resize": ("Resize", [floats(1, 2, 3, 3), None, np.array([1, 1, 2, 2], F)], {}),
}


def alone(kind, inputs, attributes):
    """A graph of one node, its inputs and what the runtime makes of them."""
    given = {f"i{place}": each for place, each in enumerate(inputs) if each is not None}
    names = [f"i{place}" if each is not None else "" for place, each in enumerate(inputs)]
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(each.dtype), list(each.shape)
        )
        for name, each in given.items()
    ]
    output = helper.make_empty_tensor_value_info("o")
    kind_out = TensorProto.INT64 if inputs[0].dtype == WHOLE else TensorProto.FLOAT
    output.type.tensor_type.elem_type = kind_out
    node = helper.make_node(kind, names, ["o"], **attributes)
    graph = helper.make_graph([node], "g", values, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    expected = OnnxSession(model.SerializeToString()).run(given)[0]
    return next(iter(ir.from_proto(model).graph)), expected


def applied(node, inputs):
    taken = [None if each is None else torch.from_numpy(each) for each in inputs]
    (found,) = execution.apply(node, taken)
    return found.numpy()


@pytest.mark.parametrize("name", [*CASES, *FALLBACKS])
def test_it_gives_what_the_runtime_gives(name):
    kind, inputs, attributes = (CASES | FALLBACKS)[name]
    node, expected = alone(kind, inputs, attributes)
    found = applied(node, inputs)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_every_operator_of_the_table_was_tried():
    kinds = {kind for kind, _, _ in CASES.values()}
    nodes = [alone(*case)[0] for case in [*CASES.values(), *FALLBACKS.values()]]
    assert execution.without_gradient(nodes) == sorted(FALLBACKS)
    assert kinds == set(execution._OPERATORS)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"Div of integers", "Reshape allowzero"}))
def test_gradients_pass(name):
    kind, inputs, attributes = CASES[name]
    node, _ = alone(kind, inputs, attributes)
    first = torch.from_numpy(inputs[0]).clone().requires_grad_()
    rest = [None if each is None else torch.from_numpy(each) for each in inputs[1:]]
    (found,) = execution.apply(node, [first, *rest])
    weights = torch.linspace(-1, 2, found.numel()).reshape(found.shape)
    (found * weights).sum().backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_several_outputs_of_a_fallback():
    node = helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1)
    outputs = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in "ab"]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5])
    sizes = helper.make_tensor_value_info("sizes", TensorProto.INT64, [2])
    graph = helper.make_graph([node], "g", [x, sizes], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    split = next(iter(ir.from_proto(model).graph))
    array = torch.from_numpy(floats(2, 5))
    first, second = execution.apply(split, [array, torch.tensor([2, 3])])
    assert torch.equal(first, array[:, :2])
    assert torch.equal(second, array[:, 2:])


def test_pixels_whose_channels_lie_side_by_side_are_multiplied():
    node = ir.from_proto(helper.make_node("Conv", ["x", "w", "b"], ["y"]))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 4, generator=generator)
    weights, bias = torch.randn(6, 3, 1, 1, generator=generator), torch.arange(6.0)
    wide = x.contiguous(memory_format=torch.channels_last)
    (found,), (wanted,) = (execution.apply(node, [each, weights, bias]) for each in (wide, x))
    torch.testing.assert_close(found, wanted)
    assert found.is_contiguous(memory_format=torch.channels_last)
