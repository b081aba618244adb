"""A manifest keeps its examples and its digest wherever the data lies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.errors import DataError


def manifest(root: str = "/data") -> Manifest:
    return Manifest(
        modality="image",
        examples=(
            Example("a/1.png", Path(root, "a/1.png"), None, "a", "train", {"who": "x"}, "11"),
            Example("b/1.png", Path(root, "b/1.png"), None, "b", "train", {"who": "y"}, "22"),
            Example("b/2.png", Path(root, "b/2.png"), None, "b", "test", {}, "33"),
        ),
        labels=("a", "b"),
        root=root,
        notes=("a note",),
        dropped={"duplicate of a test example": 3},
    )


def test_round_trip() -> None:
    payload = json.loads(json.dumps(manifest().to_json()))
    assert Manifest.from_json(payload) == manifest()
    assert payload["examples"][0]["path"] == "a/1.png"


def test_picture_outside_the_root_keeps_its_path() -> None:
    stray = replace(manifest().examples[0], path=Path("/other/1.png"))
    kept = replace(manifest(), examples=(stray,))
    assert Manifest.from_json(kept.to_json()) == kept


def test_splits_and_indices() -> None:
    m = manifest()
    assert [e.key for e in m.split("train")] == ["a/1.png", "b/1.png"]
    assert m.split("validation") == ()
    index = m.label_index(reversed(m.examples))
    assert index.dtype == np.int64
    assert index.tolist() == [1, 1, 0]
    assert m.label_index(()).shape == (0,)


def test_no_index_without_label() -> None:
    bare = replace(manifest().examples[0], label=None)
    with pytest.raises(DataError) as caught:
        manifest().label_index([bare])
    assert str(caught.value) == (
        "a/1.png: the example has no label of this data set\n"
        "  found: no label\n  expected: one of a, b"
    )


@pytest.mark.parametrize(
    "change", [{"key": "c"}, {"digest": "44"}, {"label": "b"}, {"split": "validation"}]
)
def test_digest_sees(change: dict[str, str]) -> None:
    m = manifest()
    changed = replace(m, examples=(replace(m.examples[0], **change), *m.examples[1:]))
    assert changed.digest != m.digest
    assert changed.split_digests()["test"] == m.split_digests()["test"]
    assert changed.split_digests()["train"] != m.split_digests()["train"]


def test_digest_does_not_see_order_or_notes() -> None:
    m = manifest()
    assert replace(m, examples=m.examples[::-1], notes=()).digest == m.digest
    assert set(m.split_digests()) == {"train", "test"}


def test_examples_can_be_hashed() -> None:
    assert len(set(manifest().examples)) == 3


def test_b2_what_a_network_reads_of_a_text_is_its_content() -> None:
    one, other = (Example("row 1", None, text, "a", "train", {}, "1") for text in ("Sun", "sun"))
    assert one.digest == other.digest  # the same example, as far as splits go
    assert content_of([one]) != content_of([other])
    lists = [Manifest("text", (each,), ("a",), "/data") for each in (one, other)]
    assert lists[0].digest != lists[1].digest
