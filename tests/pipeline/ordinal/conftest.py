"""What both toy tasks share."""

import sys
from pathlib import Path

import pytest

from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec import tasks

sys.path.insert(0, str(Path(__file__).parent))
TOYS = {"ordinal": "ordinal_task", "measured": "measured_task"}


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """One cache: both trace the same backbone."""
    return Store(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="module", autouse=True)
def registered():
    for name, module in TOYS.items():
        tasks.register(name, module, ("mean-error",))
    yield
    for name in TOYS:
        del tasks.TASKS[name]
