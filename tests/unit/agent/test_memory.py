"""The high-water mark of this process, as far as the system tells."""

import json
import subprocess
import sys

import pytest

from edgetransfer.agent import system

STEPS = """
import json, numpy as np
from edgetransfer.agent import system as memory
peaks = [memory.reset_peak() and memory.peak_mib()]
np.ones(64 * 2**17).sum()  # 64 MiB, freed at once
peaks.append(memory.peak_mib())
memory.reset_peak()
print(json.dumps([*peaks, memory.peak_mib()]))
"""


def test_memory_that_was_given_back_stays_in_the_peak_until_it_is_reset():
    told = subprocess.run(  # of its own: what other tests hold comes and goes
        [sys.executable, "-c", STEPS], capture_output=True, text=True, check=True
    )
    before, after, once_more = json.loads(told.stdout)
    if before is False:
        pytest.skip("this system does not reset the high-water mark")
    assert after > before + 48
    assert once_more < before + 32


def test_the_peak_is_no_less_than_what_is_held():
    held = system.held_mib("VmRSS")
    if held is None:
        pytest.skip("this system does not tell what is held")
    assert system.peak_mib() >= held > 1
