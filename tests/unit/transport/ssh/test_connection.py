"""Connections to a real ssh server: shared, over a jump host, and to a login that talks."""

import subprocess

from edgetransfer.transport.job import Job

DESCRIBE = Job("describe")


def test_a_login_that_talks(board, place, out):
    (board.home / ".bashrc").write_text("echo welcome\n")
    with place("emit(event='result', n=1)") as device:
        assert device.run(DESCRIBE, out) == {"event": "result", "n": 1}


def masters(socket):
    done = subprocess.run(["pgrep", "-fc", str(socket)], capture_output=True, check=False)
    return int(done.stdout)


def test_the_shared_connection_ends_with_the_measurement(board, place, out):
    with place("emit(event='result')") as device:
        device.run(DESCRIBE, out)
        socket = device.link.client.socket
        assert masters(socket) == 1
    assert masters(socket) == 0
    assert not socket.parent.exists()


def test_a_connection_that_the_user_shares_is_used_and_left_open(board, place, tmp_path, out):
    socket = tmp_path / "own"
    with board.configured(f"  ControlMaster auto\n  ControlPath {socket}\n  ControlPersist 60\n"):
        with place("emit(event='result')") as device:
            device.run(DESCRIBE, out)
            assert not device.link.client.socket.exists()
        assert masters(socket) == 1
        subprocess.run([*board.command.split(), "-q", "-O", "exit", "board"], check=True)


def test_a_jump_host(board, place, agent, out):
    far = f"Host far\n  HostName 127.0.0.1\n  Port {board.port}\n  ProxyJump board\n"
    with board.configured(far), place("emit(event='result', n=1)", "ssh:far") as device:
        assert device.run(DESCRIBE, out)["n"] == 1
