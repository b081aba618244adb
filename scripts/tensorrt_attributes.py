"""Lists what the Python bindings of TensorRT hold, without TensorRT: over libraries that are empty.

The bindings are small wheels; the libraries behind them are not to be had everywhere. Nothing of
them runs: loading the module needs nine symbols, and asking what a class has needs none.

    python scripts/tensorrt_attributes.py FOLDER... > tests/unit/agent/tensorrt_attributes.json

Each FOLDER holds an installed ``tensorrt_bindings``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "getPluginRegistry"),
    *("createInferRuntime_INTERNAL", "createNvOnnxParserRefitter_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry", "getNvOnnxParserVersion"),
    "initLibNvInferPlugins",
)
CLASSES = (
    *("Builder", "BuilderFlag", "DeviceType", "EngineInspector", "IBuilderConfig", "ICudaEngine"),
    *("IExecutionContext", "IHostMemory", "ILayer", "ILogger", "INetworkDefinition"),
    *("IOptimizationProfile", "LayerType"),
    *("IProgressMonitor", "ITensor", "ITimingCache", "LayerInformationFormat", "MemoryPoolType"),
    *("NetworkDefinitionCreationFlag", "OnnxParser", "ParserError", "ProfilingVerbosity"),
    *("Runtime", "TensorIOMode"),
)
ASK = """
import json, sys
import tensorrt_bindings as trt
listed = {name: [each for each in dir(getattr(trt, name)) if each[0] != "_"]
          for name in sys.argv[1:]}
listed["module"] = [each for each in dir(trt) if each[0] != "_"]
print(json.dumps({trt.__version__: listed}))
"""


def held(bindings: Path) -> dict[str, dict[str, list[str]]]:
    """Return the attributes of `CLASSES` and of the module, by the version of some bindings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "empty.c"
        source.write_text("".join(f"void *{each}(void) {{ return 0; }}\n" for each in SYMBOLS))
        (module,) = (bindings / "tensorrt_bindings").glob("tensorrt*.so")
        major = re.search(rb"libnvinfer\.so\.(\d+)", module.read_bytes())
        assert major is not None
        for library in LIBRARIES:
            file = f"lib{library}.so.{major[1].decode()}"
            subprocess.run(
                ["cc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", folder / file, source],
                check=True,
            )
        done = subprocess.run(
            [sys.executable, "-c", ASK, *CLASSES],
            env={**os.environ, "LD_LIBRARY_PATH": name, "PYTHONPATH": str(bindings)},
            capture_output=True,
            text=True,
            check=True,
        )
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return found


def main(folders: list[str]) -> None:
    """Print what all bindings hold."""
    listed = {}
    for folder in folders:
        listed |= held(Path(folder))
    print(json.dumps(listed, indent=1, sort_keys=True))


if __name__ == "__main__":
    main(sys.argv[1:])
