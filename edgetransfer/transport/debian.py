"""Fetches Debian packages of any architecture and unpacks them to a folder, without being root."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgetransfer.errors import SpecError, StageError, UnsupportedError
from edgetransfer.transport.outcome import ran

_PROGRAMS = ("apt-get", "apt-config", "dpkg", "dpkg-deb")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MERGED = ("bin", "lib", "sbin")
"""Folders that are links into usr/; the package that makes them is not among what is fetched."""


@dataclass(frozen=True)
class Mirror:
    """Where packages come from, and what their lists are signed by."""

    uri: str
    keyring: Path


def own_architecture() -> str:
    """Return what Debian calls this machine; UnsupportedError without Debian's tools."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise UnsupportedError(
            "preparing an emulated processor needs Debian's package tools",
            where="doctor --prepare",
            found=f"no {', '.join(missing)} on the path",
            fix="prepare on a Debian system",
        )
    asked = ["dpkg", "--print-architecture"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def system_mirror(etc: Path = Path("/etc")) -> Mirror:
    """Return this system's Debian mirror; SpecError without a source of Debian's main packages."""
    words = shlex.split(_read(etc / "os-release"), comments=True)
    release = dict(word.split("=", 1) for word in words if "=" in word)
    if release.get("ID") == "debian":
        suite = release.get("VERSION_CODENAME", "")
        for source in _sources(etc / "apt"):
            if "main" in source["Components"].split() and suite in source["Suites"].split():
                signed = source.get("Signed-By", "")
                keyring = Path(signed) if signed.startswith("/") else _KEYRING
                return Mirror(source["URIs"].split()[0], keyring)
    raise SpecError(
        "no source of Debian's packages is set up on this system",
        where=str(etc / "apt"),
        found=release.get("PRETTY_NAME", "no os-release"),
        expected="Debian, with its main packages among the sources of apt",
        fix="prepare on a Debian system, and copy its cache folder here",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sources(apt: Path) -> Iterator[Mapping[str, str]]:
    """Read every source in either of apt's two formats, by the field names of the newer one."""
    for file in sorted((apt / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", _read(file)):
            lines = [line for line in stanza.splitlines() if not line.startswith("#")]
            pairs = (line.partition(":") for line in lines if not line.startswith(" "))
            fields = {key.strip(): value.strip() for key, _, value in pairs}
            on = fields.get("Enabled", "yes").lower() not in ("no", "false")
            whole = {"URIs", "Suites", "Components"} <= fields.keys()
            if on and whole and "deb" in fields.get("Types", "").split():
                yield fields
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        for line in _read(file).splitlines():
            found = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)", line)
            if found:
                signed = re.search(r"signed-by=(\S+)", found["options"] or "", re.IGNORECASE)
                yield {
                    "URIs": found[2],
                    "Suites": found[3],
                    "Components": found[4].partition("#")[0],
                    "Signed-By": signed[1] if signed else "",
                }


def fetch(
    packages: Sequence[str],
    suite: str,
    architecture: str,
    mirror: Mirror,
    room: Path,
    *,
    with_dependencies: bool = True,
) -> list[Path]:
    """Download packages with a private apt in an empty folder; StageError where it cannot."""
    settings = _settings(suite, architecture, mirror, room)
    environment = {**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C"}
    _run(["apt-get", "update"], room, environment)
    # Nothing is installed: with an empty status file, -d fetches all that they depend on.
    get = ["install", "-y", "-d"] if with_dependencies else ["download"]
    archives = room / "cache" / "archives"
    _run(["apt-get", *get, *packages], archives, environment)
    return sorted(archives.glob("*.deb"))


def _settings(suite: str, architecture: str, mirror: Mirror, room: Path) -> Path:
    """Lay out a state for apt that shares nothing with the system's but how it gets out."""
    for folder in ("etc", "lists/partial", "cache/archives/partial"):
        (room / folder).mkdir(parents=True)
    (room / "status").touch()
    (room / "etc" / "sources.list").write_text(
        f"deb [signed-by={mirror.keyring}] {mirror.uri} {suite} main\n", encoding="utf-8"
    )
    dumped = subprocess.run(
        ["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False
    )
    ways_out = [line for line in dumped.stdout.splitlines() if line.startswith("Acquire::http")]
    lines = [
        *ways_out,
        f'Dir::State "{room}";',
        f'Dir::State::lists "{room}/lists";',
        f'Dir::State::status "{room}/status";',
        f'Dir::Cache "{room}/cache";',
        f'Dir::Etc "{room}/etc";',
        'Dir::Etc::netrc "/etc/apt/auth.conf";',
        'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";',
        f'APT::Architecture "{architecture}";',
        f'APT::Architectures {{"{architecture}";}};',
        'APT::Sandbox::User "";',
        'APT::Install-Recommends "false";',
        'Acquire::Languages "none";',
        'Acquire::Retries "3";',
        'Debug::NoLocking "true";',
    ]
    file = room / "apt.conf"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Lay the files of packages under a folder, as if it were the root of a system."""
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        _run(["dpkg-deb", "-x", str(package), str(root)], root, os.environ)


def unpack_one(package: Path, member: str, target: Path) -> None:
    """Take one program out of a package that holds much more."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None  # PIPE above
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for each in archive:
                if each.isfile() and each.name.removeprefix("./") == member:
                    content = archive.extractfile(each)
                    assert content is not None  # a file, above
                    with target.open("wb") as file:
                        shutil.copyfileobj(content, file)
                    target.chmod(0o755)
                    process.kill()  # the rest is not needed
                    return
    raise StageError(
        "the package does not hold what is needed of it",
        where=str(package),
        expected=member,
        fix=f"rm {package}, then run the same command again",
    )


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    failed = partial(
        StageError,
        "Debian's packages could not be fetched and unpacked",
        where=" ".join(command[:4]),
        fix="see that `apt-get update` works on this system, then run the same command again",
    )
    ran(command, failed, cwd=folder, env=environment)
