"""How long something is to take."""

import pytest

from edgetransfer.errors import SpecError
from edgetransfer.spec.options import seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), (" 0.5h ", 1800)])
def test_units(text, seconds):
    assert seconds_of(text, "--sustained") == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-3s", "0s", "1d", "nan s", "1e9s"])
def test_what_is_no_duration(text):
    with pytest.raises(SpecError) as caught:
        seconds_of(text, "--sustained")
    assert str(caught.value) == (
        f"--sustained: not a duration\n  found: {text!r}\n  expected: a number and s, m or h: 10m"
    )
