"""The high-water mark of this process, as far as the system tells."""

import numpy as np
import pytest

from edgetransfer.agent import memory


def test_memory_that_was_given_back_stays_in_the_peak_until_it_is_reset():
    if not memory.reset_peak():
        pytest.skip("this system does not reset the high-water mark")
    before = memory.peak_mib()
    np.ones(64 * 2**17).sum()  # 64 MiB, freed at once
    assert memory.peak_mib() > before + 48
    assert memory.reset_peak()
    assert memory.peak_mib() < before + 32


def test_the_peak_is_no_less_than_what_is_held():
    held = memory.resident_mib()
    if held is None:
        pytest.skip("this system does not tell what is held")
    assert memory.peak_mib() >= held > 1
