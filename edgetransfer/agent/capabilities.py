"""Tries what the runtime takes, and reads what room the machine has left."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import tempfile
from typing import Callable, Dict, Optional

from edgetransfer.agent.system import REAL, System
from edgetransfer.agent.tensorrt_build import PROVIDERS

IR_VERSION = 10
OPSET = 17
"""What a runtime is asked for first: every release since 1.17 takes both."""
_MOST = 40
Takes = Callable[[bytes], bool]


def tell(system: System = REAL) -> Dict[str, object]:
    """Return the newest files the runtime takes and the room that is left, as plain values."""
    return {
        "ir_version": newest(lambda version: identity(version, OPSET), IR_VERSION),
        "opset": newest(lambda version: identity(IR_VERSION, version), OPSET),
        "other_runtimes": other_runtimes(),
        "free_memory_mib": _free_memory_mib(system),
        "free_disk_mib": shutil.disk_usage(tempfile.gettempdir()).free // 2**20,
    }


def other_runtimes() -> Dict[str, Optional[str]]:
    """Return the runtimes beside ONNX Runtime that can be found, with their versions if told.

    They are not loaded: that needs a GPU.
    """
    found: Dict[str, Optional[str]] = {}
    for provider, modules in PROVIDERS.items():
        present = [name for name in modules if importlib.util.find_spec(name) is not None]
        if present:
            found[provider] = _version(present[0])
    return found


def _version(module: str) -> Optional[str]:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return None


def _free_memory_mib(system: System) -> Optional[int]:
    for line in (system.read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return None


def newest(model: Callable[[int], bytes], start: int, takes: Optional[Takes] = None) -> int:
    """Return the largest version whose model is taken, near to `start`; 0 if none is.

    >>> newest(lambda version: bytes([version]), 10, lambda model: model[0] <= 14)
    14
    >>> newest(lambda version: bytes([version]), 10, lambda model: model[0] <= 8)
    8
    """
    taken = takes or _loads
    version = start
    if taken(model(version)):
        while version < _MOST and taken(model(version + 1)):
            version += 1
        return version
    while version > 0 and not taken(model(version)):
        version -= 1
    return version


def _loads(model: bytes) -> bool:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a refusal comes back as an exception
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception:  # the runtime's errors have no common class
        return False
    return True


def identity(ir_version: int, opset: int) -> bytes:
    """Return an ONNX file with one Identity node, written by hand: a device has no onnx package.

    The numbers of the fields are those of ``onnx.proto``.
    """
    one = _field(1, _number(1, 1))  # a dimension of 1
    tensor = _number(1, 1) + _field(2, one)  # float [1]
    typed = _field(2, _field(1, tensor))
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Identity")
    graph = (
        _field(1, node)
        + _field(2, b"identity")
        + _field(11, _field(1, b"x") + typed)
        + _field(12, _field(1, b"y") + typed)
    )
    return _number(1, ir_version) + _field(7, graph) + _field(8, _number(2, opset))


def _number(field: int, value: int) -> bytes:
    """Write a small whole number (under 128, so that it is one byte)."""
    return bytes([field << 3, value])


def _field(field: int, content: bytes) -> bytes:
    """Write bytes, a text or another message (under 128 bytes)."""
    return bytes([field << 3 | 2, len(content)]) + content
