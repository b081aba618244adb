"""What both toy tasks share."""

import sys
from pathlib import Path

import pytest

from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec import tasks

sys.path.insert(0, str(Path(__file__).parent))
TOYS = {"ordinal": "ordinal_task", "measured": "measured_task"}


@pytest.fixture(scope="session")
def toys(cache):
    """The cache of all: they trace the same backbone."""
    return Store(cache)


@pytest.fixture(scope="module", autouse=True)
def registered():
    for name, module in TOYS.items():
        tasks.register(name, module, ("mean-error",))
    yield
    for name in TOYS:
        del tasks.TASKS[name]
