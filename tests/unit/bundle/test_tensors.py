"""D3: files of tensors are what they should be, or one error says which tensor is not."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgetransfer.bundle.files import read_tensors
from edgetransfer.errors import IntegrityError
from edgetransfer.spec.outside import Kind

KIND = Kind("head", expected="a head of ours")
FORMS = {"weight": "number C D", "bias": "number C", "counts": "count C", "spread": "positive 2"}
WHOLE = {
    "weight": np.ones((3, 4), np.float32),
    "bias": np.ones(3, np.float32),
    "counts": np.ones(3, np.int64),
    "spread": np.ones(2, np.float32),
}


def test_what_fits_is_read_with_what_the_header_says(tmp_path):
    save_file({**WHOLE, "more": np.ones(1)}, tmp_path / "x", {"schema": "1"})
    tensors, said = read_tensors(tmp_path / "x", KIND, FORMS)
    assert tensors.keys() == FORMS.keys()
    assert said == {"schema": "1"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"bias": None}, "no tensor bias"),
        ({"bias": np.ones(4, np.float32)}, "bias: shape [4] does not fit the other tensors"),
        ({"bias": np.ones((3, 1), np.float32)}, "bias: 2 axes where 1 belong"),
        ({"bias": np.ones(3, np.int64)}, "bias: int64 where floats belong"),
        ({"counts": np.ones(3)}, "counts: float64 where whole numbers belong"),
        ({"counts": -np.ones(3, np.int64)}, "counts: numbers below 0"),
        ({"weight": np.full((3, 4), np.nan)}, "weight: numbers that are not finite"),
        ({"spread": np.zeros(2)}, "spread: numbers that are not above 0"),
        ({"spread": np.ones(3)}, "spread: shape [3] does not fit the other tensors"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, change, found):
    tensors = {name: each for name, each in {**WHOLE, **change}.items() if each is not None}
    save_file(tensors, tmp_path / "x")
    with pytest.raises(IntegrityError) as told:
        read_tensors(tmp_path / "x", KIND, FORMS)
    assert str(told.value) == (
        f"{tmp_path / 'x'}: not a readable head\n  found: {found}\n  expected: a head of ours"
    )


@pytest.mark.parametrize("content", [b"", b"x" * 7, b"\xff" * 64, b"\x02" + b"\0" * 7 + b"{}"])
def test_other_bytes(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(IntegrityError, match="not a readable head"):
        read_tensors(tmp_path / "x", KIND, FORMS)
