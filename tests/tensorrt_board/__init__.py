"""What stands in for an NVIDIA board: a driver whose memory is the heap, and a module `tensorrt`.

The driver is compiled from C and reached by the same ctypes calls; the module's engines are ONNX
files that ONNX Runtime runs on those addresses. What they show is that shapes, addresses, copies,
the cache and the messages are right; not that TensorRT is.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
MODULES = FOLDER / "modules"
"""Holds `tensorrt`; to be put before all on the path."""


def make_driver(folder: Path) -> Path:
    """Compile ``libcuda.so.1`` into a folder."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to make a driver that stands in with")
    library = folder / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, FOLDER / "driver.c"], check=True)
    return library
