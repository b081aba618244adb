"""Starts agents as forks of one process that has imported what an agent does: a build starts some
fifteen, and they would spend most of their time on that.

The tests of `transport.local`, and builds in processes of their own, start agents as users do.

Usage: agents.py AGENT SOCKET
"""

import contextlib
import importlib
import json
import os
import select
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

IMPORTED = (
    "numpy", "onnxruntime", "edgetransfer.agent.main", "edgetransfer.agent.benchmark",
    "edgetransfer.agent.environment", "edgetransfer.agent.runtimes.onnxruntime",
)  # fmt: skip


class Fork:
    """What `transport.local` asks of a `subprocess.Popen`; it leads a group of its own."""

    def __init__(self, server, job, stderr):
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(server)
        read, write = os.pipe()
        words = json.dumps([job, str(Path.cwd())]).encode()
        socket.send_fds(self._link, [words], [write, stderr.fileno()])
        os.close(write)
        self.stdout = os.fdopen(read, "rb")
        self._told = self._link.makefile("r")
        self.pid, self.returncode = int(self._told.readline()), None

    def wait(self, timeout=None):
        if self.returncode is None:
            self._link.settimeout(timeout)
            try:
                self.returncode = int(self._told.readline())
            except TimeoutError:
                raise subprocess.TimeoutExpired("agent", timeout) from None
        return self.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stdout.close()
        self.wait()
        self._told.close()
        self._link.close()


@contextlib.contextmanager
def server(agent, room, environment):
    """Run the process whose forks they are; give the address of its socket."""
    address = str(room / "agents")
    command = [sys.executable, __file__, str(agent), address]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        while not Path(address).exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield address
        process.kill()


def serve(agent, address):
    sys.path[0] = agent
    for name in IMPORTED:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.")
        listener.listen(64)
        Path(f"{address}.").rename(address)
        while listener in select.select([listener, sys.stdin], [], [])[0]:  # until who asks is gone
            link, _ = listener.accept()
            if os.fork() == 0:
                if os.fork() == 0:
                    mind(agent, link)
                os._exit(0)  # so that nobody has to wait for the other
            os.wait()
            link.close()


def mind(agent, link):
    """Fork the agent; tell its number, and how it ended."""
    words, streams, *_ = socket.recv_fds(link, 1 << 16, 2)
    child = os.fork()
    if child == 0:
        link.close()
        do(agent, *json.loads(words), streams)
    for each in streams:
        os.close(each)
    link.sendall(b"%d\n" % child)
    link.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def do(agent, job, folder, streams):
    """Be the agent, and end as a program does."""
    os.setsid()
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    sys.argv = [agent, job]
    try:
        code = sys.modules["edgetransfer.agent.main"].main([job])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
        sys.stderr.write("" if isinstance(ended.code, int) else f"{ended.code}\n")
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(*sys.argv[1:])
