"""Scales of weights in the written graph, one a channel or one a tensor, signed or not."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetransfer.graph.hosted import open_here
from edgetransfer.spec.target import Int8Scheme

EXAMPLES = 20


@pytest.mark.parametrize("per_channel", [True, False])
def test_unsigned_weights_are_the_same_numbers(
    network, pictures, quantised_from, resident, per_channel
):
    signed = quantised_from(network, pictures[:EXAMPLES], Int8Scheme(per_channel=per_channel))
    scheme = Int8Scheme(weight="u8", per_channel=per_channel)
    moved = replace(signed, encoding=replace(signed.encoding, scheme=scheme)).graph()
    kinds = {each.name: each.data_type for each in moved.graph.initializer}
    assert kinds["stem.w_codes"] == onnx.TensorProto.UINT8
    assert resident(moved).float_conv == 0
    inputs = {"input": pictures}
    np.testing.assert_array_equal(
        open_here(moved).run(inputs)[0], open_here(signed.graph()).run(inputs)[0]
    )


def test_one_scale_a_tensor_is_resident_too(network, pictures, quantised_from, sqnr_db, resident):
    model = quantised_from(network, pictures[:EXAMPLES], Int8Scheme(per_channel=False)).graph()
    assert sqnr_db(model) > 25
    assert resident(model).float_conv == 0


def stored(model, name):
    """The weights of a convolution as they come out of their 8 bits."""
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return constants[f"{name}_codes"] * constants[f"{name}_scale"].reshape(-1, 1, 1, 1)


def test_each_channel_has_a_scale_of_its_own(network, pictures, quantised_from):
    options = {"equalised": False}
    channel, tensor = (
        quantised_from(network, pictures[:EXAMPLES], Int8Scheme(per_channel=each), **options)
        for each in (True, False)
    )
    (layer,) = (each for each in channel.layout.layers if each.name == "depthwise.w")
    size = np.abs(layer.weights()).max(axis=(1, 2, 3))
    assert size.max() > 50 * size.min()
    errors = [
        np.abs(stored(each.graph(), "depthwise.w") - layer.weights()).max(axis=(1, 2, 3))
        for each in (channel, tensor)
    ]
    assert (errors[0] < 0.05 * size).all()
    assert errors[1][size.argmin()] > 0.2 * size.min()
    assert len(set(channel.encoding.weights["depthwise.w"].scale.tolist())) == 16
    assert len(set(tensor.encoding.weights["depthwise.w"].scale.tolist())) == 1
