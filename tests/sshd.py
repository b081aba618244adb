"""A real sshd on loopback with throwaway keys and a home of its own, and a link that can be cut."""

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


class Wire:
    """A TCP relay that drops what it holds: the Wi-Fi between a laptop and a board.

    `after` holds, for connections to come, how many bytes or seconds each of them lives.
    """

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._live = []
        self.after = []
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            pair = (near, far)
            with self._lock:
                self._live.append(pair)
                limit = self.after.pop(0) if self.after else {}
            left = [limit.get("bytes")]
            for source, sink in (pair, pair[::-1]):
                threading.Thread(
                    target=self._relay, args=(source, sink, pair, left), daemon=True
                ).start()
            if "seconds" in limit:
                threading.Timer(limit["seconds"], self._drop, (pair, True)).start()

    def _relay(self, source, sink, pair, left):
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 14):
                if left[0] is not None:
                    left[0] -= len(block)
                    if left[0] < 0:
                        self._drop(pair, True)
                        return
                sink.sendall(block)
        self._drop(pair, False)

    def _drop(self, pair, counts):
        with self._lock:
            if pair not in self._live:
                return
            self._live.remove(pair)
            self.cuts += counts
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self):
        """Drop what is there now; return whether anything was."""
        live = list(self._live)
        for pair in live:
            self._drop(pair, True)
        return bool(live)

    def close(self):
        self._listener.close()
        self.cut()


class Board:
    """What a test knows of the device that it reaches as ``ssh:board``."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        for name in ("key", "host"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        (folder / "authorized").write_bytes((folder / "key.pub").read_bytes())
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.wire = Wire(self.port)
        self.config = folder / "ssh_config"
        self.known = folder / "known"
        public = " ".join((folder / "host.pub").read_text().split()[:2])
        ports = (self.wire.port, self.port)
        self.known.write_text("".join(f"[127.0.0.1]:{each} {public}\n" for each in ports))
        self.config.write_text(
            f"Host *\n  User {getpass.getuser()}\n"
            f"  IdentityFile {folder}/key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known}\n  GlobalKnownHostsFile none\n"
            "  ServerAliveInterval 1\n"
            f"Host board\n  HostName 127.0.0.1\n  Port {self.wire.port}\n"
        )
        self.config.chmod(0o600)
        self.command = shlex.join(["ssh", "-F", str(self.config)])

    @property
    def work(self):
        return self.home / ".cache" / "edgetransfer-device"

    @contextlib.contextmanager
    def configured(self, lines):
        """Add lines to ssh's configuration: options of ``board``, or other hosts."""
        before = self.config.read_text()
        self.config.write_text(before + lines)
        try:
            yield
        finally:
            self.config.write_text(before)

    @contextlib.contextmanager
    def serving(self):
        file = self.folder / "sshd_config"
        file.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder}/host\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"MaxStartups 100\nSetEnv HOME={self.home} XDG_CACHE_HOME=\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        log = (self.folder / "log").open("wb")
        with log, subprocess.Popen([SSHD, "-D", "-e", "-f", str(file)], stderr=log) as server:
            try:
                self._wait(server)
                yield self
            finally:
                server.terminate()
                self.wire.close()

    def _wait(self, server):
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert server.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    if SSHD is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    board = Board(tmp_path_factory.mktemp("board"))
    with board.serving():
        yield board


@pytest.fixture
def board(served, monkeypatch):
    """A device that is reached as ``ssh:board``, with an empty home."""
    shutil.rmtree(served.home)
    served.home.mkdir()
    served.wire.after = []
    served.wire.cuts = 0
    monkeypatch.setenv("EDGETRANSFER_SSH", served.command)
    return served
