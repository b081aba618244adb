"""Runs the commands whose output README and `docs/build.md` show, and keeps what they print.

Usage: python benchmarks/readme.py [--show]

Everything goes into ``benchmarks/results/readme.txt``, under the machine, the date and the load,
and from there into the blocks of the two pages that name it (`tests/contract/test_figures.py` holds
their lines against it); the demo's report becomes README's screenshot. ``--show`` runs nothing and
writes the blocks anew.
"""

from __future__ import annotations

import os
import re
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
RESULT = ROOT / "benchmarks" / "results" / "readme.txt"
PAGES = (ROOT / "README.md", ROOT / "docs" / "build.md")
SHOWN = re.compile(r"(?:^(?: {4}.*)?\n)+(?=<!-- figures: readme\.txt -->)", re.MULTILINE)
PROGRESS = re.compile(r"^ .* \d+ of \d+$\n", re.MULTILINE)
WHOLE = re.compile(r"^\$ .*?(?=^# exit code)", re.MULTILINE | re.DOTALL)
VERDICT = re.compile(r"^[A-Z]{4,} {2}\S+\n(?: .*\n)+", re.MULTILINE)


def prepare(folder: Path) -> None:
    """Put the data where the commands name it."""
    (folder / "photos").symlink_to(SHARED / "datasets" / "hymenoptera")
    backbone = "mobilenet_v2_1.0_224"
    (folder / backbone).symlink_to(SHARED / "backbones" / backbone)


def show(told: str) -> None:
    """Write what was printed into the pages: a command with all of it, or the demo's verdict."""
    printed = re.sub(r" +$", "", PROGRESS.sub("", told), flags=re.MULTILINE)
    blocks = {each.partition("\n")[0]: each for each in WHOLE.findall(printed)}

    def fresh(old: re.Match[str]) -> str:
        command = old[0].strip().partition("\n")[0]
        found = VERDICT.search(blocks[f"$ {COMMANDS[0]}"])
        if command not in blocks and found is None:
            return old[0]  # which the test of the figures then says
        lines = blocks.get(command, found[0] if found else "").rstrip()
        return "\n" + "".join(f"    {each}".rstrip() + "\n" for each in lines.splitlines())

    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(SHOWN.sub(fresh, text), encoding="utf-8")


def run() -> None:
    """Run all commands in one folder with an empty cache."""
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
            RESULT.write_text("\n".join(told) + "\n", encoding="utf-8")
            print(told[-1], flush=True)
        report = str(folder / "demo-out" / "this-machine" / "report.html")
        subprocess.run([sys.executable, str(ROOT / "scripts" / "pictures.py"), report], check=False)


def main() -> None:
    """Run the commands, unless they were, and show what they printed."""
    if sys.argv[1:] != ["--show"]:
        run()
    show(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
