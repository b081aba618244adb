"""What the user sees when the device cannot be reached, or lacks what the agent needs."""

import json
import shutil
import socket
import textwrap
import zipfile

import pytest

from edgetransfer.errors import EdgeTransferError
from edgetransfer.transport.job import Job
from edgetransfer.transport.place import Software, connect
from edgetransfer.transport.ssh.board import look
from edgetransfer.transport.ssh.link import Client
from edgetransfer.transport.wheels import WheelTarget

PI = {
    "python": "/usr/bin/python3",
    "version": [3, 11, 2],
    "system": "Linux",
    "machine": "aarch64",
    "bits": 64,
    "libc": "glibc 2.36",
    "imports": {},
}


def says(where, software=None):
    """Return the message that connecting ends with."""
    with pytest.raises(EdgeTransferError) as caught, connect(where, software or Software()):
        pass
    return str(caught.value)


def told(words):
    return textwrap.dedent(words).strip()


def test_addresses_that_are_none(board):
    for address in ("", "-oProxyCommand=x", "two words"):
        assert says(f"ssh:{address}") == told(
            f"""
            --on: ssh needs a host
              found: 'ssh:{address}'
              expected: ssh:HOST, ssh:USER@HOST, ssh:USER@HOST:PORT, or a Host of ~/.ssh/config
            """
        )


def test_ssh_is_not_installed(board, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_SSH", "/absent/ssh")
    assert says("ssh:board") == told(
        """
        ssh:board: the program ssh is not installed
          found: /absent/ssh
          fix: sudo apt install openssh-client
        """
    )


def test_a_host_that_nobody_knows(board):
    # Names below .invalid are promised never to exist (RFC 2606).
    found = says("ssh:pi.invalid").splitlines()
    assert found[0] == "ssh:pi.invalid: no host of this name is known"
    assert found[1].startswith("  found: ssh: Could not resolve hostname pi.invalid: ")
    assert found[-1] == "  fix: see the spelling, the network, and Host in ~/.ssh/config"


def test_nothing_listens(board):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert says(f"ssh:127.0.0.1:{port}") == told(
        f"""
        ssh:127.0.0.1:{port}: the device is there, and no ssh server answers
          found: ssh: connect to host 127.0.0.1 port {port}: Connection refused
          fix: start one there (sudo systemctl enable --now ssh), or name its port: ssh:HOST:PORT
        """
    )


def test_something_else_listens(board):
    board.wire.after = [{"bytes": 0}]
    found = says("ssh:board").splitlines()
    assert found[0] == "ssh:board: the device does not answer"
    assert found[-1] == (
        f"  fix: see that it is switched on and in this network: ssh -F {board.config} board"
    )


def test_the_login_is_refused(board):
    authorized = board.folder / "authorized"
    keys = authorized.read_text()
    authorized.write_text("")
    try:
        found = says("ssh:board")
    finally:
        authorized.write_text(keys)
    user = found.split(" found: ")[1].partition("@")[0]
    assert found == told(
        f"""
        ssh:board: the device refuses the login
          found: {user}@127.0.0.1: Permission denied (publickey).
          fix: give it a key that needs no password: ssh-copy-id -F {board.config} board
        or load one that has a pass phrase: ssh-add
        """
    )


def test_an_unknown_host_key(board):
    known = board.known.read_text()
    board.known.write_text("")
    try:
        found = says("ssh:board").splitlines()
    finally:
        board.known.write_text(known)
    assert found[0] == "ssh:board: the device's host key is not known yet"
    assert found[-1] == (
        f"  fix: log in once, compare the fingerprint, and say yes: ssh -F {board.config} board"
    )


def test_a_changed_host_key(board):
    known = board.known.read_text()
    other = " ".join((board.folder / "key.pub").read_text().split()[:2])
    board.known.write_text(f"[127.0.0.1]:{board.wire.port} {other}\n")
    try:
        found = says("ssh:board").splitlines()
    finally:
        board.known.write_text(known)
    assert found[0] == "ssh:board: the device shows another host key than the one that is known"
    assert found[-2:] == [
        "  fix: if the device was set up anew, forget the old key: "
        f'ssh-keygen -f "{board.known}" -R "[127.0.0.1]:{board.wire.port}"',
        f"then log in once and compare the new one: ssh -F {board.config} board",
    ]


def test_a_configuration_with_a_mistake(board):
    with board.configured("  Compresion yes\n"):
        found = says("ssh:board")
    lines = len(board.config.read_text().splitlines()) + 1
    assert found == told(
        f"""
        ssh:board: ssh cannot read its configuration
          found: {board.config}: line {lines}: Bad configuration option: compresion
        {board.config}: terminating, 1 bad configuration options
          fix: fix the line it names
        """
    )


@pytest.fixture
def python(board):
    """Write a Python for the board that says of itself what it is told to."""

    def write(**told):
        file = board.home / "python3"
        line = json.dumps({**PI, "python": str(file), **told})
        file.write_text(f"#!/bin/sh\ncat <<'E'\n{line}\nE\nexit 1\n")
        file.chmod(0o755)
        return Software(python="~/python3")

    return write


def tried(returncode=0, version="1.0", words=""):
    return {"returncode": returncode, "version": version, "words": words}


def absent(name):
    return tried(1, "", f"Traceback...\nModuleNotFoundError: No module named '{name}'")


def test_no_python_there(board):
    assert says("ssh:board", Software(python="/absent/python3")) == told(
        """
        ssh:board: the device has no Python that can run the agent
          found: no /absent/python3
          expected: Python 3.9 or newer
          fix: install python3 there, or name one: --python /path/to/python3
        """
    )


def test_a_python_that_is_too_old(board, python):
    assert says("ssh:board", python(version=[3, 7, 3], libc="glibc 2.28")) == told(
        f"""
        ssh:board: the device has no Python that can run the agent
          found: {board.home}/python3 3.7.3 on Linux aarch64, glibc 2.28
          expected: Python 3.9 or newer
          fix: install python3 there, or name one: --python /path/to/python3
        """
    )


def test_a_python_without_a_runtime(board, python):
    imports = {"numpy": tried(0, "1.26.4"), "onnxruntime": absent("onnxruntime")}
    line = WheelTarget((3, 10), "Linux", "aarch64", 64, "glibc 2.35").download(
        "wheels-aarch64-3.10"
    )
    found = says("ssh:board", python(version=[3, 10, 12], libc="glibc 2.35", imports=imports))
    assert found == told(
        f"""
        ssh:board: the device lacks what the agent needs
          found: {board.home}/python3 3.10.12 on Linux aarch64, glibc 2.35; numpy 1.26.4; no onnxruntime
          expected: numpy and onnxruntime
          fix: install them there (pip install numpy onnxruntime, and name that Python by --python), or bring them from here, for this measurement only:
        {line}
        edgetransfer bench BUNDLE --on ssh:board --wheels wheels-aarch64-3.10
        """  # noqa: E501
    )


def test_a_runtime_that_crashes(board, python):
    imports = {"numpy": tried(), "onnxruntime": tried(-4, "", "Unknown CPU vendor")}
    found = says("ssh:board", python(imports=imports)).splitlines()
    assert found[1].endswith(
        "; numpy 1.0; onnxruntime does not load (killed by SIGILL. Unknown CPU vendor)"
    )


def test_a_32_bit_system_takes_no_wheels(board, python, tmp_path):
    imports = {name: absent(name) for name in ("numpy", "onnxruntime")}
    software = python(bits=32, imports=imports)
    assert says("ssh:board", Software(tmp_path, software.python)) == told(
        f"""
        ssh:board: the device lacks what the agent needs
          found: {board.home}/python3 3.11.2 on Linux aarch64, 32 bits, glibc 2.36; no numpy; no onnxruntime
          expected: numpy and onnxruntime
          fix: ONNX Runtime has no wheels for a 32-bit system: install a 64-bit one, or use Debian 13 and its python3-onnxruntime
        """  # noqa: E501
    )


def test_wheels_are_unpacked_for_the_measurement(board, tmp_path, monkeypatch):
    """Two packages that do nothing, for the system's own Python, which has neither."""
    system = shutil.which("python3", path="/usr/bin")
    if system is None:
        pytest.skip("there is no Python of the system")
    monkeypatch.chdir(tmp_path)
    for package in ("numpy", "onnxruntime"):
        with zipfile.ZipFile(tmp_path / f"{package}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{package}/__init__.py", "__version__ = 'brought'\n")
    (tmp_path / "agent.py").write_text(
        "import json, numpy; told = {'environment': {}, 'n': numpy.__version__}\n"
        "print(json.dumps({'event': 'result', **told}))"
    )
    software = Software(tmp_path, system)
    with connect("ssh:board", software, agent=tmp_path / "agent.py") as place:
        assert place.run(Job("describe"), tmp_path)["n"] == "brought"
    assert len(list((board.work / "sites").iterdir())) == 1
    with connect("ssh:board", software, agent=tmp_path / "agent.py") as place:
        assert place.run(Job("describe"), tmp_path)["n"] == "brought"
    assert len(list((board.work / "sites").iterdir())) == 1


def test_a_python_is_found_where_people_put_it(board, tmp_path):
    folder = board.home / "venv" / "bin"
    folder.mkdir(parents=True)
    file = folder / "python3"
    imports = {name: tried() for name in ("numpy", "onnxruntime")}
    good = json.dumps({**PI, "python": str(file), "imports": imports})
    file.write_text(f"#!/bin/sh\necho '{good}'\n")
    file.chmod(0o755)
    client = Client("board", tmp_path)
    try:
        assert look(client, None).python == str(file)
    finally:
        client.close()
