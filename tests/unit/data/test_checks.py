"""All problems are told at once, each with its place."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgetransfer.data import sources
from edgetransfer.data.manifest import Example
from edgetransfer.data.sources import depth_problems, raise_if
from edgetransfer.errors import DataError
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES

if TYPE_CHECKING:
    from pathlib import Path


def records(*rows: str) -> tuple[Example, ...]:
    """Records from "split label number"; "-" is no split."""
    return tuple(
        Example(
            *(f"{row} {i}", None, "", label, None if s == "-" else s, {}, f"{n}{i}"),
            where=f"row {n}.{i}",
        )
        for n, row in enumerate(rows)
        for s, label, number in [row.split()]
        for i in range(int(number))
    )


def test_one_error_for_all() -> None:
    with pytest.raises(DataError) as caught:
        raise_if([f"row {i}: bad" for i in range(22)], "a.csv")
    listed = "".join(f"  - row {i}: bad\n" for i in range(20))
    assert str(caught.value) == (
        f"a.csv: 22 problems in the data\n{listed}  and 2 more\n"
        "  fix: correct the data and start again"
    )
    raise_if([], "a.csv")


def test_one_problem() -> None:
    with pytest.raises(DataError) as caught:
        raise_if(["row 1: bad"], "a.csv")
    assert str(caught.value) == (
        "a.csv: 1 problem in the data\n  - row 1: bad\n  fix: correct the data and start again"
    )


def test_sound_classes() -> None:
    given = records("train a 2", "train b 2", "test a 1")
    assert CLASSES.problems(given, ()) == []
    assert CLASSES.problems(records("- a 4", "- b 4"), ("train", "validation", "test")) == []
    assert CLASSES.problems((), ()) == []


def test_small_classes() -> None:
    assert CLASSES.problems(records("train 10 1", "train 9 1", "train 8 2"), ()) == [
        "class '9': 1 different example for training, 2 needed (2 to fit on)",
        "class '10': 1 different example for training, 2 needed (2 to fit on)",
    ]
    carved = ("train", "validation")
    assert CLASSES.problems(records("train a 2", "train b 3"), carved) == [
        "class 'a': 2 different examples for training, 3 needed (2 to fit on and 1 for validation)"
    ]
    carved = ("train", "validation", "test")
    assert CLASSES.problems(records("- a 3", "- b 4"), carved) == [
        "class 'a': 3 different examples for training, 4 needed "
        "(2 to fit on and 1 for validation and 1 for test)"
    ]


def test_equal_contents_count_once() -> None:
    twins = tuple(Example(str(i), None, "", "a", "train", {}, "same") for i in range(5))
    assert CLASSES.problems(twins + records("train b 2"), ()) == [
        "class 'a': 1 different example for training, 2 needed (2 to fit on)"
    ]


def test_one_class() -> None:
    assert CLASSES.problems(records("train a 5"), ()) == [
        "only one class, 'a'; at least 2 are needed"
    ]


def test_classes_never_trained_on() -> None:
    data = records("train a 2", "train b 2", "test c 2", "validation d 1")
    assert CLASSES.problems(data, ()) == [
        "class 'c' has no training example, but 2 for test (first: row 2.0)",
        "class 'd' has no training example, but 1 for validation (first: row 3.0)",
    ]


def test_nothing_to_train_on() -> None:
    assert CLASSES.problems(records("test a 5"), ()) == ["no example is for training"]


def test_absent_classes_are_noted() -> None:
    labels = tuple("abcdefg")
    data = records("validation a 1", *(f"test {label} 1" for label in labels[1:]))
    assert CLASSES.notes(data, labels) == [
        "no validation example of b, c, d, e, f and 1 more",
        "no test example of a",
    ]


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize(
    ("brightest", "problem", "levels"),
    [(4095, True, 16), (1023, True, 4), (6000, False, 24), (65535, None, 0), (40000, None, 0)],
)
def test_c5_sixteen_bits_of_which_twelve_are_used(
    tmp_path: Path, brightest: int, problem: bool | None, levels: int, colours: bool
) -> None:
    """Fault C5: 17 grey levels were left, without a word."""
    if colours and brightest == 6000:
        pytest.skip("Pillow reads colours of 16 bits as 8: the brightest value is known roughly")
    records = []
    for index in range(3):
        path = tmp_path / f"{index}.png"
        values = np.linspace(0, brightest, 64).astype(np.uint16).reshape(8, 8)
        path.write_bytes(wide_png(values, colours=colours))
        records.append(Example(f"{index}", path, None, "a", None, {}))
    problems, notes = depth_problems(tuple(records))
    assert (len(problems), len(notes)) == {True: (1, 0), False: (0, 1), None: (0, 0)}[problem]
    if problem is not None:
        assert f"{levels} grey levels of 256 would be left" in (problems + notes)[0]
    if problem and not colours:
        assert problems == [
            f"3 16-bit pictures of which the brightest value is {brightest:,} of 65,535: "
            f"{levels} grey levels of 256 would be left; save them with 8 bits, as value * 255 / "
            f"{brightest:,}, and on the device too"
        ]


def test_c5_a_data_set_of_twelve_bits_is_refused(tmp_path: Path) -> None:
    for index in range(20):
        values = np.roll(np.linspace(0, 4095, 64).astype(np.uint16), index).reshape(8, 8)
        folder = tmp_path / "ab"[index % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{index}.png").write_bytes(wide_png(values, colours=False))
    with pytest.raises(DataError, match="16 grey levels of 256 would be left"):
        sources.load(DataSpec(source=str(tmp_path)), CLASSES, seed=0)


def wide_png(values: np.ndarray, *, colours: bool) -> bytes:
    """Write a PNG of 16 bits, which Pillow does for grey only."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if colours else 0, 0, 0, 0)
    pixels = np.repeat(values[..., None], 3 if colours else 1, axis=2).astype(">u2")
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_classes_that_differ_in_case_are_told() -> None:
    *_, told = CLASSES.notes((), ["No", "Yes", "yes"])
    assert told == "the classes Yes and yes differ in nothing but case: they are kept apart"
