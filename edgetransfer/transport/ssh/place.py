"""Runs the packed agent on a device that answers to ssh; a lost link only makes it wait."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.files import digest_of_value
from edgetransfer.errors import EdgeTransferError
from edgetransfer.transport import wheels
from edgetransfer.transport.job import outputs, patience_s, plain
from edgetransfer.transport.local import ALWAYS, KEPT, KEPT_FAMILIES
from edgetransfer.transport.place import AS_IT_IS, Place, Software
from edgetransfer.transport.ssh import board as ssh_board
from edgetransfer.transport.ssh import jobs as ssh_jobs
from edgetransfer.transport.ssh.jobs import Staging
from edgetransfer.transport.ssh.link import Client, Link, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgetransfer.spec.progress import Progress
    from edgetransfer.transport.job import Job

PATIENCE = RetryPolicy()
KEEP_DAYS = 30
KEEP_BYTES = 2 << 30
"""What stays in the device's work folder, so that the next measurement need not push it again."""
_GOODBYE = RetryPolicy(longest_s=5.0)


@dataclass
class Ssh(Place):
    """A device, as a place."""

    where: str
    link: Link
    agent: Path
    python: str
    environment: Mapping[str, str]
    jobs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.staging = Staging(f"{self.link.work}/files")

    def do(self, job: Job, out: Path, progress: Progress) -> Mapping[str, Any]:
        """Push what is not there, run the job, fetch what it wrote."""
        name = uuid.uuid4().hex
        folder = f"{self.link.work}/jobs/{name}"
        agent = self.staging.put(str(self.agent))
        start = {
            "job": name,
            "told": plain(job, f"{folder}/out", self.staging.put),
            "command": (self.python, agent, f"{folder}/job.json"),
            "environment": self.environment,
            "silent_s": patience_s(job),
            "kept": sorted(KEPT),
            "kept_families": KEPT_FAMILIES,
        }
        ssh_jobs.push(self.link, self.staging)
        self.jobs.append(name)
        result, files = ssh_jobs.follow(self.link, job, start, progress)
        ssh_jobs.fetch(self.link, name, files, outputs(job), out)
        return result

    def close(self) -> None:
        """Take away what the jobs left there, and end those that still run."""
        farewell = Link(self.link.client, self.python, _GOODBYE)
        farewell.work = self.link.work
        farewell.ask("close", jobs=self.jobs, keep_days=KEEP_DAYS, keep_bytes=KEEP_BYTES)


@contextmanager
def connect(address: str, agent: Path, software: Software = AS_IT_IS) -> Iterator[Ssh]:
    """Connect to what `ssh` takes, or ``USER@HOST:PORT``."""
    sockets = Path(tempfile.mkdtemp(prefix="et-", dir="/tmp"))  # a socket's path has to be short
    client = Client(address, sockets)
    try:
        board = ssh_board.look(client, software.python)
        if not board.complete and (software.wheels is None or board.wanted.obstacle()):
            raise ssh_board.lacking(client, board)
        link = Link(client, board.python, PATIENCE)
        link.work = link.ask("hello")["work"]
        place = Ssh(client.where, link, agent, board.python, ALWAYS)
        if software.wheels is not None:
            place.environment = _bring(place, board, software.wheels)
        try:
            yield place
        finally:
            with suppress(EdgeTransferError):
                place.close()
    finally:
        client.close()
        shutil.rmtree(sockets, ignore_errors=True)


def _bring(place: Ssh, board: ssh_board.Board, folder: Path) -> Mapping[str, str]:
    """Push wheels and unpack them beside the files; return the environment that has them."""
    client = place.link.client
    found = [place.staging.staged(path) for path in wheels.fitting(folder, board.wanted)]
    for each in found:
        place.staging.put(str(each.path))
    ssh_jobs.push(place.link, place.staging)
    names = [each.name for each in found]
    site = place.link.ask("unpack", wheels=names, site=digest_of_value(names))["site"]
    brought = ssh_board.look(client, board.python, site)
    if not brought.complete:
        raise ssh_board.lacking(client, brought)
    return {**ALWAYS, "PYTHONPATH": site}
