"""Runs the commands whose output README shows, and keeps what they print.

Usage: python benchmarks/readme.py [RESULT.txt]

Everything goes into ``benchmarks/results/readme.txt``, under the machine, the date and the load;
`tests/contract/test_figures.py` holds README's lines against it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
COMMANDS = (
    "edgetransfer demo --out demo-out",
    "edgetransfer build ./photos --backbone ./mobilenet_v2_1.0_224 --fit probe",
)


def prepare(folder: Path) -> None:
    """Put the data where the commands name it."""
    (folder / "photos").symlink_to(SHARED / "datasets" / "hymenoptera")
    backbone = "mobilenet_v2_1.0_224"
    (folder / backbone).symlink_to(SHARED / "backbones" / backbone)


def main() -> None:
    """Run all commands in one folder with an empty cache."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "benchmarks" / "results" / "readme.txt"
    machine = fingerprint(runtime_facts())
    told = [f"# {machine['cpu']}, {', '.join(machine['isa'])}; {machine['cores']} cores"]
    told.append(f"# {datetime.now(UTC).date().isoformat()}, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        surroundings = {**os.environ, **paths, "EDGETRANSFER_CACHE": f"{name}/cache"}
        for command in COMMANDS:
            start = time.monotonic()
            done = subprocess.run(
                command.split(),
                cwd=folder,
                env=surroundings,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            seconds = time.monotonic() - start
            told += ["", f"$ {command}", done.stdout.rstrip().replace(name, "")]
            told.append(f"# exit code {done.returncode}, {seconds:.0f} s")
            out.write_text("\n".join(told) + "\n", encoding="utf-8")
            print(told[-1], flush=True)


if __name__ == "__main__":
    main()
