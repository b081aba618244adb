"""Memory, streams and facts of the first GPU, by ctypes on the driver's own library."""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Tuple

import numpy as np

from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.system import ask, read_text

Rooms = Dict[str, Tuple[int, int]]
"""Address and size of what is kept for a name."""
LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_DRIVER_FILES = ("/proc/driver/nvidia/version", "/etc/nv_tegra_release")


class Cuda:
    """The first GPU, its primary context and one stream; `Unavailable` without driver or GPU."""

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError as error:
            raise Unavailable("no NVIDIA driver on this machine: %s" % error) from error
        self._call("cuInit", ctypes.c_uint(0))
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)
        self._stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(self._stream), ctypes.c_uint(0))
        self._rooms: Rooms = {}
        self._pinned: Rooms = {}

    def _call(self, name: str, *arguments: Any) -> None:  # noqa: ANN401
        code = getattr(self._cuda, name)(*arguments)
        if code != 0:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(ctypes.c_int(code), ctypes.byref(text))
            words = (text.value or b"error %d" % code).decode("ascii", "replace")
            raise Unavailable("the NVIDIA driver refuses %s: %s" % (name, words))

    @property
    def stream(self) -> int:
        """Return the handle of the stream."""
        return self._stream.value or 0

    def gpu(self) -> Dict[str, str]:
        """Describe the GPU, as far as an engine is bound to it.

        `gpu` is its name by the driver, the compute capability like ``8.7``; `driver` the newest
        CUDA that it serves, and its own build where the system tells; `power_mode` a Jetson's
        (nvpmodel), empty elsewhere.
        """
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, ctypes.c_int(256), self._device)
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        cuda = "CUDA %d.%d" % (version.value // 1000, version.value % 1000 // 10)
        capability = "%d.%d" % (self._attribute(_MAJOR), self._attribute(_MINOR))
        told = [cuda, *((read_text(file) or "").partition("\n")[0] for file in _DRIVER_FILES)]
        driver = "; ".join(each.strip() for each in told if each)
        return {
            "gpu": name.value.decode("utf-8", "replace"),
            "compute_capability": capability,
            "driver": driver,
            "power_mode": " ".join((ask(["nvpmodel", "-q"]) or "").split()),
        }

    def _attribute(self, which: int) -> int:
        number = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(number), ctypes.c_int(which), self._device)
        return number.value

    def room(self, name: str, size: int) -> int:
        """Return the address of at least `size` bytes on the GPU that are kept for a name."""
        return self._held(self._rooms, name, size, "cuMemAlloc_v2", "cuMemFree_v2")

    def _held(self, kept: Rooms, name: str, size: int, take: str, free: str) -> int:
        address, held = kept.get(name, (0, 0))
        if held < size:
            if address:
                self._call(free, ctypes.c_uint64(address))
            found = ctypes.c_uint64()
            self._call(take, ctypes.byref(found), ctypes.c_size_t(size))
            address = found.value
            kept[name] = (address, size)
        return address

    def pinned(
        self, name: str, shape: "tuple[int, ...]", kind: "np.dtype[Any]"
    ) -> np.ndarray[Any, Any]:
        """Return an array [shape] in page-locked memory of the host that is kept for a name.

        The GPU reads and writes such memory by itself; from pageable memory the driver copies
        piece by piece through a buffer of its own (CUDA C++ Best Practices Guide, Pinned Memory).
        """
        size = max(1, int(np.prod(shape)) * kind.itemsize)
        address = self._held(self._pinned, name, size, "cuMemAllocHost_v2", "cuMemFreeHost")
        buffer: Any = (ctypes.c_char * size).from_address(address)
        return np.frombuffer(buffer, kind, count=int(np.prod(shape))).reshape(shape)

    def send(self, address: int, array: np.ndarray[Any, Any]) -> None:
        """Copy a contiguous array to the GPU, in the order of the stream."""
        source = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), source, size, self._stream)

    def fetch(self, array: np.ndarray[Any, Any], address: int) -> None:
        """Fill a contiguous array from the GPU, in the order of the stream."""
        target = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyDtoHAsync_v2", target, ctypes.c_uint64(address), size, self._stream)

    def wait(self) -> None:
        """Wait until all that was put on the stream is done."""
        self._call("cuStreamSynchronize", self._stream)
