"""Peak memory of the device process by the number of test pictures: it is to be the model's alone.

Usage: peak_memory.py OUT.json [BACKBONE] ; a folder with MobileNetV2 as BACKBONE. The pictures are
noise: memory does not depend on what they show.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from edgetransfer.backbone import sources
from edgetransfer.graph.trace import Signature, trace
from edgetransfer.transport.job import Job, Variant
from edgetransfer.transport.local import Local

COUNTS = (200, 5000)


def main() -> None:
    """Measure and write."""
    out, backbone = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        network = sources.load(sources.locate(str(backbone)), "image").network.eval()
        few = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)
        onnx.save(trace(network, [few], Signature(("input",), ("logits",))), folder / "model.onnx")
        found = {}
        for count in COUNTS:
            shape = (count, *few.shape[1:])
            file = folder / "input.npy"
            rows = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
            for index in range(count):
                rows[index] = few[index % 2]
            del rows
            variant = Variant("candidate", str(folder / "model.onnx"), {"input": str(file)})
            peak = Local().run(Job("outputs", (variant,)), folder)["peak_mib"]
            found[str(count)] = round(peak, 1)
            print(count, found[str(count)], "MiB", flush=True)
    record = {"backbone": backbone.name, "input": [3, 224, 224], "peak_mib": found}
    out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
