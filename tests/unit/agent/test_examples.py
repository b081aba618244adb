"""Prepared inputs are read one example at a time."""

import re

import numpy as np
import pytest

from edgetransfer.agent.examples import ExampleFiles


@pytest.fixture
def saved(tmp_path):
    def write(name, array):
        np.save(tmp_path / f"{name}.npy", array)
        return str(tmp_path / f"{name}.npy")

    return write


def test_stacked_inputs_come_as_batches_of_one(saved):
    ids, mask = np.arange(6).reshape(3, 2), np.ones((3, 2), np.int64)
    examples = ExampleFiles({"ids": saved("ids", ids), "mask": saved("mask", mask)})
    assert len(examples) == 3
    batch = examples[1]
    assert list(batch) == ["ids", "mask"]
    np.testing.assert_array_equal(batch["ids"], [[2, 3]])
    assert type(batch["ids"]) is np.ndarray
    assert batch["ids"].flags.c_contiguous


def test_listed_inputs_may_differ_in_size(saved):
    pictures = [np.full((1, 2 + i, 3, 3), i, np.uint8) for i in range(3)]
    files = [saved(str(i), picture) for i, picture in enumerate(pictures)]
    examples = ExampleFiles({"picture": files})
    assert len(examples) == 3
    for i, picture in enumerate(pictures):
        np.testing.assert_array_equal(examples[i]["picture"], picture)


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(1, [0]), (2, [0, 8]), (3, [0, 4, 8]), (9, [*range(9)]), (99, [*range(9)])],
)
def test_some_are_spread_evenly(saved, count, chosen):
    examples = ExampleFiles({"x": saved("x", np.arange(9)[:, None])})
    assert [int(batch["x"][0, 0]) for batch in examples.some(count)] == chosen


def test_inputs_of_different_lengths(saved):
    files = {"a": saved("a", np.zeros((3, 1))), "b": [saved("b", np.zeros((1, 1)))] * 2}
    message = "inputs hold [2, 3] examples: expected one number above 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ExampleFiles(files)


@pytest.mark.parametrize(
    ("empty", "found"), [({"a": []}, [0]), ({}, [])], ids=["no example", "no input"]
)
def test_nothing_to_run_on(empty, found):
    message = f"inputs hold {found} examples: expected one number above 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ExampleFiles(empty)


def test_arrays_of_objects_are_not_opened(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="Array can't be memory-mapped"):
        ExampleFiles({"x": str(tmp_path / "x.npy")})


def test_arrays_whose_examples_do_not_lie_one_behind_the_other_are_refused(saved):
    file = saved("x", np.asfortranarray(np.arange(6.0).reshape(3, 2)))
    message = f"{file} does not hold one example behind the other"
    with pytest.raises(ValueError, match=re.escape(message)):
        ExampleFiles({"x": file})


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8", "int64", "bool"])
def test_what_is_read_is_what_was_written(saved, kind):
    rows = np.random.default_rng(0).integers(0, 2, (7, 2, 3)).astype(kind)
    examples = ExampleFiles({"x": saved("x", rows)}, batch=3)
    assert (len(examples), examples.total) == (3, 7)
    got = [examples[i]["x"] for i in range(3)]
    assert [len(each) for each in got] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(got), rows)
    assert got[0].dtype == rows.dtype
