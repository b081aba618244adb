"""Two processes come to what one comes to, and end together where one fails."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgetransfer.transfer.team import ALONE

SCRIPT = Path(__file__).with_name("shared_fit.py")


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What two processes left, of which none failed, and each in turn."""
    if importlib.util.find_spec("accelerate") is None:
        pytest.skip("accelerate is not installed")
    folder = tmp_path_factory.mktemp("left")
    subprocess.run([sys.executable, str(SCRIPT), str(folder), "NONE", "0", "1"], check=True)
    return folder


def one_process():
    spec = importlib.util.spec_from_file_location("shared_fit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fit()


def test_two_processes_come_to_what_one_comes_to(left):
    assert (left / "NONE.out").read_text() == "2 processes (gloo, cpu)\n"
    shared = load_file(left / "NONE.safetensors")
    state, history = one_process()
    assert history[-1][0] < history[0][0]
    np.testing.assert_allclose(shared.pop("history").numpy(), history, rtol=1e-4)
    assert shared.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rank", [0, 1])
def test_what_fails_in_one_process_ends_both_with_one_message(left, rank):
    told = (left / f"{rank}.err").read_text().splitlines()
    assert [line for line in told if line.startswith("process ")] == [
        "process 0: "
        if rank == 0
        else "process 0: several processes: process 2 of 2 failed, and the others were ended"
    ]
    assert ("  found: ZeroDivisionError()" in told) == (rank == 1)
    assert not (left / f"{rank}.safetensors").exists()


def test_one_process_has_all_of_every_batch():
    rows = np.arange(5)
    assert (ALONE.share(rows) is rows, ALONE.rank, ALONE.size) == (True, 0, 1)
    assert [ALONE.meet(flag=flag) for flag in (False, True)] == [False, True]
