"""Calls the system's OpenSSH: what it is told, and what its own complaints mean."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, NamedTuple

from edgetransfer.errors import EdgeTransferError, SpecError, StageError
from edgetransfer.transport.outcome import last_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = "EDGETRANSFER_SSH"
"""Variable with another ssh command, as a shell would split it: ``ssh -F other_config``."""
LOST = 255
"""What ssh returns where it is not the remote command that ended."""
_ALWAYS = (
    "BatchMode=yes",  # nobody answers a question
    "LogLevel=ERROR",
    "RequestTTY=no",
    "RemoteCommand=none",  # the user's may name a shell for himself
    "ClearAllForwardings=yes",  # a port that the user's own session holds
)
_UNLESS_SET = {
    "connecttimeout": ("none", "ConnectTimeout=10"),
    "serveraliveinterval": ("0", "ServerAliveInterval=15"),
}
"""Options by their name in ``ssh -G``: what it says where the user has no wish, and ours."""


class _Complaint(NamedTuple):
    """What ssh says, what that means, what to do, and whether trying again is of no use."""

    says: str
    what: str
    fix: str
    final: bool = False


_COMPLAINTS = (
    _Complaint(
        "IDENTIFICATION HAS CHANGED",
        "the device shows another host key than the one that is known",
        "if the device was set up anew, forget the old key: {forget}\n"
        "then log in once and compare the new one: {login}",
        final=True,
    ),
    _Complaint(
        "Host key verification failed",
        "the device's host key is not known yet",
        "log in once, compare the fingerprint, and say yes: {login}",
        final=True,
    ),
    _Complaint(
        "Permission denied (",
        "the device refuses the login",
        "give it a key that needs no password: {copy}\nor load one that has a pass phrase: ssh-add",
        final=True,
    ),
    _Complaint(
        "Could not resolve hostname",
        "no host of this name is known",
        "see the spelling, the network, and Host in ~/.ssh/config",
    ),
    _Complaint(
        "Connection refused",
        "the device is there, and no ssh server answers",
        "start one there (sudo systemctl enable --now ssh), or name its port: ssh:HOST:PORT",
    ),
    _Complaint(
        "onfiguration option",
        "ssh cannot read its configuration",
        "mend the line it names",
        final=True,
    ),
    _Complaint(
        "Bad owner or permissions",
        "ssh does not trust its configuration",
        "chmod 600 the file it names",
        final=True,
    ),
)
_NO_ANSWER = _Complaint(
    "", "the device does not answer", "see that it is switched on and in this network: {login}"
)


class LinkLostError(Exception):
    """The link ended before the answer did; the words are ssh's."""


class Call:
    """One command that runs on the device, and its streams."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        assert process.stdin is not None  # PIPE
        assert process.stdout is not None  # PIPE
        self.stdin: IO[bytes] = process.stdin
        self.stdout: IO[bytes] = process.stdout
        self._process = process
        self._errors = errors

    def ended(self) -> tuple[int, str]:
        """Wait for the end; return the return code and what was complained of."""
        code = self._process.wait()
        self._errors.seek(0)
        return code, self._errors.read().decode("utf-8", "replace")


class Client:
    """The way to one host; the private folder takes the socket that all calls share.

    Raises:
        SpecError: that is no host.
        StageError: ssh is not installed, or cannot read its configuration.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.where = f"ssh:{address}"
        self._target = target(address)
        self._command = shlex.split(os.environ.get(COMMAND) or "ssh")
        self._options: list[str] = []
        self.socket = folder / "s"
        options = list(_ALWAYS)
        wishes = self._wishes()
        options += [o for key, (unset, o) in _UNLESS_SET.items() if wishes.get(key) == unset]
        self._shared = wishes.get("controlpath", "none") != "none"
        if not self._shared:
            options += ["ControlMaster=auto", "ControlPersist=60", f"ControlPath={self.socket}"]
        self._options = [word for option in options for word in ("-o", option)]

    def _wishes(self) -> dict[str, str]:
        """Return the options that the user's configuration gives for the host."""
        code, told, words = self._run(["-G", *self._target])
        if code:
            raise self.complaint(words)
        return dict(line.partition(" ")[::2] for line in told.splitlines())

    def _run(self, words: list[str]) -> tuple[int, str, str]:
        try:
            done = subprocess.run(
                [*self._command, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise StageError(
                "the program ssh is not installed",
                where=self.where,
                found=str(error.filename),
                fix="sudo apt install openssh-client",
            ) from error
        return done.returncode, done.stdout, done.stderr

    @contextmanager
    def call(self, command: str) -> Iterator[Call]:
        """Run a command on the device; it is ended when the block ends.

        The session of its own keeps the keyboard's Ctrl-C from ssh, so that the device can still
        be told to stop. Errors go to a file: the master that stays in the background would keep a
        pipe open.
        """
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                [*self._command, *self._options, "-T", *self._target, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                bufsize=1 << 16,
            ) as process,
        ):
            try:
                yield Call(process, errors)
            finally:
                process.kill()
                for stream in (process.stdin, process.stdout):
                    assert stream is not None  # PIPE
                    with suppress(BrokenPipeError):
                        stream.close()

    def complaint(self, words: str) -> EdgeTransferError:
        """Return the error for what ssh says."""
        said = next((each for each in _COMPLAINTS if each.says in words), _NO_ANSWER)
        login = shlex.join([*self._command, *self._target])
        forget = re.search(r"ssh-keygen -f .*", words)
        return StageError(
            said.what,
            where=self.where,
            found=last_words(words),
            fix=said.fix.format(
                login=login,
                copy=login.replace("ssh", "ssh-copy-id", 1),
                forget=forget[0].strip() if forget else "ssh-keygen -R HOST",
            ),
        )

    @staticmethod
    def is_final(words: str) -> bool:
        """Say whether trying again would end the same way."""
        return any(each.final and each.says in words for each in _COMPLAINTS)

    def close(self) -> None:
        """End the shared connection, unless it is the user's own."""
        if not self._shared and self.socket.exists():
            self._run([*self._options, "-O", "exit", *self._target])


def target(address: str) -> list[str]:
    """Return the words that name a host to ssh.

    >>> target("pi"), target("pi@10.0.0.7:2222"), target("[fe80::1]:22"), target("fe80::1")
    (['pi'], ['-p', '2222', 'pi@10.0.0.7'], ['-p', '22', 'fe80::1'], ['fe80::1'])

    Raises:
        SpecError: that is no host.
    """
    host, port = address.removeprefix("//"), None
    if found := re.fullmatch(r"(?P<host>[^:]+|(?:[^@]*@)?\[.+\]):(?P<port>\d+)", host):
        host, port = found["host"], found["port"]
    host = host.replace("[", "").replace("]", "")
    if not re.fullmatch(r"[^\s-]\S*", host):
        raise SpecError(
            "ssh needs a host",
            where="--on",
            found=repr(f"ssh:{address}"),
            expected="ssh:HOST, ssh:USER@HOST, ssh:USER@HOST:PORT, or a Host of ~/.ssh/config",
        )
    return [*(["-p", port] if port else []), host]
