"""The environments that peers run in, made from the requirement lines beside the peers.

A peer's pins conflict with ours or with another's, so none is ever installed into `.venv`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"
OURS = "ours"
"""The environment that the benchmark itself runs in."""
_LAST_WORDS = 400


class PeerError(Exception):
    """A peer could not be installed or failed; its text is the reason that the table gives."""


class Environments:
    """Python interpreters by the name of their requirement file.

    Args:
        folder: where the environments are made and kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._failed: dict[str, str] = {}

    def python(self, name: str) -> Path:
        """Return the interpreter of an environment, which is made where it is not there yet.

        Raises:
            PeerError: it could not be installed.
        """
        if name == OURS:
            return Path(sys.executable)
        if name in self._failed:
            raise PeerError(self._failed[name])
        place = self._folder / name
        wanted = (PEERS / f"{name}.txt").read_text(encoding="utf-8")
        stamp = place / "installed.txt"
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
            self._install(name, place)
            stamp.write_text(wanted, encoding="utf-8")
        return place / "bin" / "python"

    def _install(self, name: str, place: Path) -> None:
        print(f"installing the environment {name} into {place}", flush=True)
        python = str(place / "bin" / "python")
        requirements = str(PEERS / f"{name}.txt")
        quiet = ["--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(place)],
            [python, "-m", "pip", "install", *quiet, "--requirement", requirements],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = f"cannot install {name}: {last_words(done.stderr)}"
                self._failed[name] = reason
                raise PeerError(reason)


def run_peer(python: Path, script: str, folder: Path, *, nice: bool) -> None:
    """Run a peer on the job in `folder`.

    Args:
        python: of the peer's environment.
        script: name of the file below ``peers/``.
        folder: holds ``job.json``; what the peer prints goes to ``log.txt``.
        nice: step back behind other people's work; never while times are taken.

    Raises:
        PeerError: it did not leave ``made.json``.
    """
    (folder / "made.json").unlink(missing_ok=True)
    surroundings = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "NNCF_CI": "1",  # it sends nothing then
    }
    command = ["nice", "-n", "5"] if nice else []
    command += [str(python), str(PEERS / script), str(folder)]
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=surroundings, check=False
        )
    if done.returncode or not (folder / "made.json").is_file():
        words = last_words((folder / "log.txt").read_text(encoding="utf-8", errors="replace"))
        raise PeerError(f"{script} ended with code {done.returncode}: {words}")


def last_words(text: str) -> str:
    """Return the last line that says something, cut to what a table can hold."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "it said nothing")[:_LAST_WORDS]
