"""What a bench on an emulated processor takes, by the number of examples.

Usage: emulated.py BUNDLE DATA [--on qemu:arm64] [--examples 4,16]

The seconds of the whole command go into ``results/emulated.json``, beside those of other
processors; `edgetransfer.pipeline.cost` tells from them what another bench will take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts

RESULT = Path(__file__).parent / "results" / "emulated.json"


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data")
    parser.add_argument("--on", default="qemu:arm64")
    parser.add_argument("--examples", default="4,16")
    asked = parser.parse_args()
    backbone = json.loads((asked.bundle / "manifest.json").read_text())["backbone"]
    seconds = {}
    for number in asked.examples.split(","):
        with tempfile.TemporaryDirectory() as out:
            words = ["bench", str(asked.bundle), "--data", asked.data, "--on", asked.on]
            words += ["--examples", number, "--out", out]
            start = time.monotonic()
            subprocess.run([sys.executable, "-m", "edgetransfer", *words], check=False)
            seconds[number] = round(time.monotonic() - start, 1)
    print(seconds)
    record = {
        "backbone": Path(backbone["source"]).name,
        "macs": backbone["macs"],
        "seconds": seconds,
        "date": datetime.now(UTC).date().isoformat(),
        "environment": fingerprint(runtime_facts()),
    }
    kept = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    RESULT.write_text(json.dumps({**kept, asked.on: record}, indent=1) + "\n")


if __name__ == "__main__":
    main()
