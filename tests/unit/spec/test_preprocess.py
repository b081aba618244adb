"""A contract that cannot be carried out is refused when it is read."""

import pytest
from pydantic import ValidationError

from edgetransfer.spec.outside import explain
from edgetransfer.spec.preprocess import PREPROCESSING, ImagePreprocessing, TextPreprocessing


def problem(**fields):
    with pytest.raises(ValidationError) as caught:
        PREPROCESSING.validate_python(fields)
    return explain(caught.value)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"exact": (20, 30)}, (20, 30)),
        ({"exact": (20, 30), "crop": (10, 30)}, (10, 30)),
        ({"shortest_edge": 32, "crop": (32, 20)}, (32, 20)),
    ],
)
def test_the_size_the_network_gets(fields, size):
    assert ImagePreprocessing(**fields).output_size == size


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, "image: give either shortest_edge or exact"),
        ({"shortest_edge": 8, "exact": (8, 8)}, "image: give either shortest_edge or exact"),
        ({"shortest_edge": 8}, "image: shortest_edge leaves one side open: give crop as well"),
        (
            {"shortest_edge": 8, "crop": (4, 9)},
            "image: crop (4, 9) is larger than shortest_edge 8",
        ),
        ({"exact": (8, 9), "crop": (9, 8)}, "image: crop (9, 8) is larger than exact (8, 9)"),
        (
            {"exact": (0, 8)},
            "image.exact.0: should be greater than or equal to 1 (found 0)",
        ),
        (
            {"exact": (8, 8), "std": (1, 0, 1)},
            "image.std.1: should be greater than 0 (found 0)",
        ),
        (
            {"exact": (8, 8), "mean": (0, 0, float("nan"))},
            "image.mean.2: should be a finite number (found nan)",
        ),
        (
            {"exact": (8, 8), "interpolation": "lanczos"},
            "image.interpolation: should be 'nearest', 'bilinear' or 'bicubic' (found 'lanczos')",
        ),
    ],
)
def test_pictures_that_cannot_be_prepared_so(fields, found):
    assert problem(kind="image", **fields) == found


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (
            {"max_length": 1},
            "text.max_length: should be greater than or equal to 2 (found 1)",
        ),
        (
            {"inputs": ("input_ids", "ids")},
            "text.inputs.1: should be 'input_ids', 'attention_mask' or 'token_type_ids'"
            " (found 'ids')",
        ),
    ],
)
def test_texts_that_cannot_be_prepared_so(fields, found):
    assert problem(kind="text", **fields) == found


def test_a_contract_says_what_it_is_for():
    assert problem(exact=(8, 8)) == "the whole: Unable to extract tag using discriminator 'kind'"


@pytest.mark.parametrize(
    "contract",
    [
        ImagePreprocessing(shortest_edge=9, crop=(8, 8), mean=(0.1, 0.2, 0.3), rescale=1.0),
        TextPreprocessing(max_length=9, inputs=("input_ids",)),
    ],
)
def test_a_contract_survives_its_file(contract):
    assert PREPROCESSING.validate_json(contract.model_dump_json()) == contract
