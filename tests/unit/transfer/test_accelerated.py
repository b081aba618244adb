"""Two processes come to what one comes to, and end together where one fails."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgetransfer.transfer.train.team import ALONE

SCRIPT = Path(__file__).with_name("shared_fit.py")
needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed"
)


def launch(*arguments):
    how = ["torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command = [sys.executable, "-m", *how, "--rdzv-endpoint", "localhost:0", str(SCRIPT)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def one_process():
    spec = importlib.util.spec_from_file_location("shared_fit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fit()


@needs_accelerate
def test_two_processes_come_to_what_one_comes_to(tmp_path):
    done = launch(str(tmp_path / "shared.safetensors"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 processes (gloo, cpu)\n"
    shared = load_file(tmp_path / "shared.safetensors")
    state, history = one_process()
    assert history[-1][0] < history[0][0]
    np.testing.assert_allclose(shared.pop("history").numpy(), history, rtol=1e-4)
    assert shared.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6)


@needs_accelerate
@pytest.mark.parametrize("rank", [0, 1])
def test_what_fails_in_one_process_ends_both_with_one_message(tmp_path, rank):
    done = launch(str(tmp_path / "none"), str(rank))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("process ")]
    assert said == [
        "process 0: "
        if rank == 0
        else "process 0: several processes: process 2 of 2 failed, and the others were ended"
    ]
    assert ("  found: ZeroDivisionError()" in done.stderr.splitlines()) == (rank == 1)
    assert not (tmp_path / "none").exists()


def test_one_process_has_all_of_every_batch():
    rows = np.arange(5)
    assert (ALONE.share(rows) is rows, ALONE.rank, ALONE.size) == (True, 0, 1)
    assert [ALONE.meet(flag=flag) for flag in (False, True)] == [False, True]
