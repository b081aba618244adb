"""What stands in place of a file: other contents, and things that are no files."""

import json
import os
import socket
from pathlib import Path

from edgetransfer.bundle.opened import seal, seal_report

OF_SEALS = ("schema", "files", "seal")

CONTENTS = {
    "empty": b"",
    "spaces": b"  \n",
    "binary": bytes(range(256)) * 4,
    "latin-1": b'{"name": "caf\xe9"}',
    "utf-16": '{"name": "x"}'.encode("utf-16"),
    "zeros": b"\0" * 64,
    "open": b"{",
    "null": b"null",
    "number": b"3",
    "text": b'"x"',
    "list": b"[]",
    "object": b"{}",
    "twice": b'{"schema": 1, "schema": 2}',
    "deep": b"[" * 100_000,
    "deep-object": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "digits": b"9" * 5_000,
    "nan": b"[NaN]",
    "large": b"1e999",
    "surrogate": b'{"a": "\\ud800"}',
    "lines": b"\n" * 5_000,
}


def _socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


NODES = {
    "fifo": os.mkfifo,
    "folder": os.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "socket": _socket,
    "sparse": lambda path: (path.touch(), os.truncate(path, 1 << 41)),
}
KINDS = [*CONTENTS, *NODES]


def reseal(bundle):
    """Seal a bundle again, as a stranger can who changed a file of it."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").unlink()
    facts = {key: value for key, value in manifest.items() if key not in OF_SEALS}
    write_report(bundle, json.loads((bundle / "report.json").read_text()), seal(bundle, facts))


def write_report(bundle, report, sealed):
    """Write a report under a seal of its own."""
    if isinstance(report, dict):
        seal_report(report, sealed)
    (bundle / "report.json").unlink()
    (bundle / "report.json").write_text(json.dumps(report))


def put(path, kind):
    """Replace what stands at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        path.unlink()
    if kind in CONTENTS:
        path.write_bytes(CONTENTS[kind])
    else:
        NODES[kind](path)
