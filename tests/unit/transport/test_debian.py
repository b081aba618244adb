"""Packages come from the mirror that the system itself is set up for."""

import subprocess

import pytest

from edgetransfer.errors import SpecError, StageError
from edgetransfer.transport import debian

RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_CODENAME=bookworm\n'
STANZAS = """Types: deb
# http://old.example/debian
URIs: http://security.example/debian
Suites: bookworm-security
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/own.gpg
"""


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "apt" / "sources.list.d").mkdir(parents=True)
    (tmp_path / "os-release").write_text(RELEASE)
    return tmp_path


def test_the_newer_format(etc):
    (etc / "apt" / "sources.list.d" / "debian.sources").write_text(STANZAS)
    found = debian.system_mirror(etc)
    assert (found.uri, str(found.keyring)) == ("http://mirror.example/debian", "/keys/own.gpg")


def test_the_older_format(etc):
    (etc / "apt" / "sources.list").write_text(
        "# deb http://off.example/debian bookworm main\n"
        "deb-src http://sources.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/keys/tool.gpg] http://tool.example bookworm tool\n"
        "deb [arch=amd64 signed-by=/keys/own.gpg] http://mirror.example/debian bookworm main # x\n"
    )
    found = debian.system_mirror(etc)
    assert (found.uri, str(found.keyring)) == ("http://mirror.example/debian", "/keys/own.gpg")


def test_without_a_key_of_its_own_debians_is_taken(etc):
    (etc / "apt" / "sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    found = debian.system_mirror(etc)
    assert str(found.keyring) == "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.mark.parametrize("id_", ["debian", "ubuntu"])
def test_a_system_without_debians_packages(etc, id_):
    (etc / "os-release").write_text(f"PRETTY_NAME='Some System'\nID={id_}\nVERSION_CODENAME=x\n")
    (etc / "apt" / "sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    with pytest.raises(SpecError) as caught:
        debian.system_mirror(etc)
    assert str(caught.value) == (
        f"{etc}/apt: no source of Debian's packages is set up on this system\n"
        "  found: Some System\n"
        "  expected: Debian, with its main packages among the sources of apt\n"
        "  fix: prepare on a Debian system, and copy its cache folder here"
    )


def test_apt_has_a_state_of_its_own(tmp_path, monkeypatch):
    """What apt is told is seen by a stand-in, which also leaves a package where apt would."""
    seen = {}

    def run(command, cwd=None, env=None, **_):
        if command[:2] == ["apt-config", "dump"]:
            told = 'Acquire::http::Proxy "http://way.example";\nAcquire::Retries "9";\n'
            return subprocess.CompletedProcess(command, 0, told, "")
        seen[command[1]] = (command[2:], cwd)
        seen["settings"] = open(env["APT_CONFIG"]).read()  # noqa: PTH123, SIM115
        (cwd / "got_1.deb").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    mirror = debian.Mirror("http://mirror.example/debian", tmp_path / "key.gpg")
    room = tmp_path / "room"
    (file,) = debian.fetch(("a", "b"), "bookworm", "arm64", mirror, room)
    assert file == room / "cache" / "archives" / "got_1.deb"
    assert seen["install"] == (["-y", "-d", "a", "b"], room / "cache" / "archives")
    assert (room / "etc" / "sources.list").read_text() == (
        f"deb [signed-by={tmp_path}/key.gpg] http://mirror.example/debian bookworm main\n"
    )
    settings = seen["settings"].splitlines()
    assert settings[0] == 'Acquire::http::Proxy "http://way.example";'
    assert f'Dir::State::status "{room}/status";' in settings
    assert 'APT::Architectures {"arm64";};' in settings
    assert not any("Retries" in line and "9" in line for line in settings)


def test_a_failed_fetch_tells_what_apt_said(tmp_path, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 100, "", "E: no way out\n")

    monkeypatch.setattr(subprocess, "run", run)
    mirror = debian.Mirror("http://mirror.example/debian", tmp_path / "key.gpg")
    with pytest.raises(StageError) as caught:
        debian.fetch(("a",), "bookworm", "arm64", mirror, tmp_path / "room")
    assert str(caught.value) == (
        "apt-get update: Debian's packages could not be fetched and unpacked\n"
        "  found: E: no way out\n"
        "  fix: see that `apt-get update` works on this system, then run the same command again"
    )
