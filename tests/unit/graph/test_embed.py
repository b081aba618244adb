"""The contract as a graph prepares a picture as Pillow does.

Pillow is told to resize in two steps, columns first: up to version 12 its one step did that, and
the order shows where bicubic overshoots (up to 18 levels in noise between Pillow 12 and 13).
"""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from edgetransfer.graph.embed import (
    PICTURE,
    PREPARED,
    by_channels,
    preprocessing_graph,
    with_preprocessing,
)
from edgetransfer.spec.preprocess import ImagePreprocessing

LEVELS = {"rescale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}
SIZES = [(1, 1), (7, 5), (13, 13), (33, 20), (50, 61), (27, 54)]
"""Of pictures: height and width."""


@pytest.fixture
def noise():
    generator = np.random.default_rng(0)
    return lambda *shape: generator.integers(0, 256, (*shape, 3), np.uint8)


@pytest.fixture
def prepare(run):
    def levels(spec, pictures):
        return run(preprocessing_graph(spec), **{PICTURE: pictures})[0]

    return levels


def by_pillow(picture, size, interpolation):
    height, width = size
    image = Image.fromarray(picture).resize((width, len(picture)), FILTERS[interpolation])
    return np.asarray(image.resize((width, height), FILTERS[interpolation])).astype(float)


def tolerance(before, after):
    return 1 if all(a <= b for a, b in zip(after, before, strict=True)) else 2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("exact", [(1, 1), (5, 7), (16, 16), (17, 31), (9, 40)])
def test_exact_size(prepare, noise, interpolation, exact):
    spec = ImagePreprocessing(exact=exact, interpolation=interpolation, **LEVELS)
    for size in SIZES:
        picture = noise(*size)
        prepared = prepare(spec, picture[None])
        assert prepared.shape == (1, 3, *exact)
        difference = prepared[0].transpose(1, 2, 0) - by_pillow(picture, exact, interpolation)
        assert np.abs(difference).max() <= tolerance(size, exact), size


def sources(before, after):
    """Rows that a nearest row may come from; two where it lies between them, as rounding falls."""
    for row in range(after):
        place = (row + Fraction(1, 2)) * before / after
        yield {int(place), int(place) - (place.denominator == 1)}


@pytest.mark.parametrize("exact", [(1, 1), (5, 7), (16, 16), (24, 24), (17, 31), (9, 40)])
def test_exact_size_by_the_nearest_pixel(prepare, exact):
    spec = ImagePreprocessing(exact=exact, interpolation="nearest", **LEVELS)
    for height, width in SIZES:
        rows, columns = np.mgrid[:height, :width].astype(np.uint8)
        picture = np.stack([rows, columns, columns], axis=-1)
        prepared = prepare(spec, picture[None])[0]
        pillow = by_pillow(picture, exact, "nearest")
        for found in (prepared, pillow.transpose(2, 0, 1)):
            assert all(
                row in allowed
                for row, allowed in zip(found[0, :, 0], sources(height, exact[0]), strict=True)
            )
            assert all(
                column in allowed
                for column, allowed in zip(found[1, 0], sources(width, exact[1]), strict=True)
            )


@pytest.mark.parametrize("factor", [2, 4])
def test_between_two_pixels_the_nearest_is_the_later(prepare, noise, factor):
    picture = noise(8 * factor, 8 * factor)
    spec = ImagePreprocessing(exact=(8, 8), interpolation="nearest", **LEVELS)
    prepared = prepare(spec, picture[None])[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(prepared, picture[factor // 2 :: factor, factor // 2 :: factor])
    np.testing.assert_array_equal(prepared, by_pillow(picture, (8, 8), "nearest"))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((20, 33), (16, 26)),
        ((33, 20), (26, 16)),
        ((50, 50), (16, 16)),
        ((16, 99), (16, 99)),
        ((7, 11), (16, 25)),
        ((11, 7), (25, 16)),
    ],
)
def test_the_short_side_is_resized_and_the_centre_cut(prepare, noise, interpolation, size, resized):
    spec = ImagePreprocessing(
        shortest_edge=16, crop=(13, 10), interpolation=interpolation, **LEVELS
    )
    picture = noise(*size)
    prepared = prepare(spec, picture[None])
    assert prepared.shape == (1, 3, 13, 10)
    whole = by_pillow(picture, resized, interpolation)
    top, left = (resized[0] - 13) // 2, (resized[1] - 10) // 2
    difference = prepared[0].transpose(1, 2, 0) - whole[top : top + 13, left : left + 10]
    assert np.abs(difference).max() <= tolerance(size, resized)


def test_a_crop_of_an_exact_size(prepare, noise):
    picture = noise(20, 20)
    whole = prepare(ImagePreprocessing(exact=(11, 12), **LEVELS), picture[None])
    cut = prepare(ImagePreprocessing(exact=(11, 12), crop=(8, 9), **LEVELS), picture[None])
    np.testing.assert_array_equal(cut, whole[:, :, 1:9, 1:10])
    same = preprocessing_graph(ImagePreprocessing(exact=(11, 12), crop=(11, 12)))
    assert "Slice" not in [node.op_type for node in same.graph.node]


def test_pictures_of_a_batch_do_not_mix(prepare, noise):
    spec = ImagePreprocessing(shortest_edge=9, crop=(8, 8), interpolation="bicubic", **LEVELS)
    pictures = np.stack([noise(12, 20), noise(12, 20)])
    alone = [prepare(spec, picture[None]) for picture in pictures]
    np.testing.assert_array_equal(prepare(spec, pictures), np.concatenate(alone))


@pytest.mark.parametrize(
    ("mean", "std", "shape"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (1, 3, 1, 1)),
        ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), ()),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), ()),
    ],
)
def test_channels_are_normalised_each_by_its_own_numbers(prepare, noise, mean, std, shape):
    spec = ImagePreprocessing(exact=(8, 8), mean=mean, std=std)
    picture = noise(8, 8)
    expected = (picture / 255 - np.array(mean)) / np.array(std)
    prepared = prepare(spec, picture[None])[0]
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared.transpose(1, 2, 0), expected, atol=1e-5)
    constants = preprocessing_graph(spec).graph.initializer
    (scale,) = (numpy_helper.to_array(each) for each in constants if each.name == "pre/scale")
    assert scale.shape == shape


def test_the_graph_takes_any_size_and_says_what_it_gives():
    model = preprocessing_graph(ImagePreprocessing(exact=(8, 9)), opset=18, ir_version=9)
    assert (model.opset_import[0].version, model.ir_version) == (18, 9)
    (picture,), (prepared,) = model.graph.input, model.graph.output
    assert (picture.name, prepared.name) == (PICTURE, PREPARED)
    shapes = [
        [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim]
        for value in (picture, prepared)
    ]
    assert shapes == [["batch", "height", "width", 3], ["batch", 3, 8, 9]]


def test_joined_to_a_network_it_gives_the_networks_output(traced, prepare, run, noise):
    before = preprocessing_graph(ImagePreprocessing(shortest_edge=17, crop=(16, 16)))
    whole = with_preprocessing(traced, before)
    pictures = noise(2, 30, 21)
    prepared = run(before, **{PICTURE: pictures})[0]
    np.testing.assert_array_equal(
        run(whole, **{PICTURE: pictures})[0], run(traced, input=prepared)[0]
    )
    assert [each.name for each in whole.graph.input] == [PICTURE]
    assert [each.name for each in whole.graph.output] == ["logits"]
    assert whole.ir_version == traced.ir_version
    onnx.checker.check_model(whole, full_check=True)


@pytest.mark.parametrize("size", [(16, 16), (30, 21), (1, 1)])
def test_channels_first_give_what_the_bytes_give(traced, run, noise, size):
    spec = ImagePreprocessing(shortest_edge=17, crop=(16, 16))
    whole = with_preprocessing(traced, preprocessing_graph(spec))
    pictures = noise(2, *size)
    levels = pictures.transpose(0, 3, 1, 2).astype(np.float32)
    np.testing.assert_array_equal(
        run(by_channels(whole, "pixel_values"), pixel_values=levels)[0],
        run(whole, **{PICTURE: pictures})[0],
    )
