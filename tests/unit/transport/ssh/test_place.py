"""A real ssh server on loopback, and a link that is cut whenever it hurts."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.bundle.agent_archive import pack_agent
from edgetransfer.errors import SpecError, StageError
from edgetransfer.transport.job import Job, Variant
from edgetransfer.transport.place import Software, connect
from edgetransfer.transport.ssh import place as ssh
from edgetransfer.transport.ssh.link import RetryPolicy

HERE = Software(python=sys.executable)
DESCRIBE = Job("describe")


def noise(path, mib, seed=0):
    path.write_bytes(np.random.default_rng(seed).bytes(int(mib * 2**20)))
    return path


@pytest.mark.usefixtures("impatient")
def test_the_real_agent_describes_the_board(board, tmp_path, out):
    pack_agent(tmp_path / "agent.pyz")
    with connect("ssh:board", HERE, agent=tmp_path / "agent.pyz") as place:
        assert (place.where, place.emulated) == ("ssh:board", False)
        environment = place.run(DESCRIBE, out)["environment"]
        assert environment["numpy"] == np.__version__
        assert board.work.stat().st_mode & 0o777 == 0o700
    assert list((board.work / "jobs").iterdir()) == []


def test_files_are_pushed_once_by_digest_and_come_back_by_name(board, place, tmp_path, out):
    for name in ("a.onnx", "again.onnx"):
        noise(tmp_path / name, 0.1)
    variants = [
        Variant(name, str(tmp_path / f"{name}.onnx"), optimised_to="/host/graph.onnx")
        for name in ("a", "again")
    ]
    with place(
        """
        model, again = [each["model"] for each in job["variants"]]
        open(job["variants"][0]["optimised_to"], "wb").write(open(model, "rb").read())
        open(job["out"] + "/driver.cache", "wb").close()
        quiet = os.environ["ORT_DISABLE_TELEMETRY"]
        emit(event="result", model=model, again=again, quiet=quiet, here=os.getcwd())
        """
    ) as device:
        told = device.run(Job("optimise", tuple(variants)), out)
        sent = {each.name: each.stat().st_mtime_ns for each in (board.work / "files").iterdir()}
        assert device.run(Job("optimise", tuple(variants)), out)["model"] == told["model"]
    assert told["model"] == told["again"]
    assert Path(told["model"]).parent == board.work / "files"
    assert told["quiet"] == "1"
    assert told["here"].startswith(str(board.work / "jobs"))
    assert (out / "graph.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes()
    assert [each.name for each in out.iterdir()] == ["graph.onnx"]
    assert len(sent) == 2  # the agent and the model
    with place("emit(event='result')") as device:
        device.run(Job("optimise", tuple(variants)), out)
        kept = Path(told["model"])
        assert kept.is_file()


def test_the_link_is_cut_twenty_times_and_each_line_and_byte_counts_once(
    board, place, tmp_path, out
):
    model = noise(tmp_path / "model.onnx", 3)
    release = tmp_path / "release"
    with place(
        f"""
        import time
        open({str(tmp_path / "starts")!r}, "a").write("started\\n")
        number = 0
        while not os.path.exists({str(release)!r}):
            number += 1
            emit(event="progress", done=number, total=None)
            time.sleep(0.02)
        model = open(job["variants"][0]["model"], "rb").read()
        for name in ("one", "two"):
            open(job["out"] + "/" + name + ".npy", "wb").write(model)
        emit(event="result", lines=number)
        """
    ) as device:
        board.wire.after = [{"bytes": 250_000} for _ in range(7)]  # the push
        board.wire.cut()
        heard, cut_at = [], []

        def progress(done, total):
            heard.append(done)
            if len(cut_at) < 6 and board.wire.cut():
                cut_at.append(done)
                if len(cut_at) == 6:
                    board.wire.after = [{"bytes": 700_000} for _ in range(6)]  # the fetch
                    release.touch()

        both = tuple(Variant(name, str(model)) for name in ("one", "two"))
        result = device.run(Job("time", both), out, progress=progress)
        assert board.wire.cuts == 20
    assert heard == list(range(1, result["lines"] + 1))
    assert (tmp_path / "starts").read_text() == "started\n"
    for name in ("one.npy", "two.npy"):
        assert (out / name).read_bytes() == model.read_bytes()
    assert len(list(out.iterdir())) == 2


def test_ssh_itself_is_killed(board, place, tmp_path, out):
    release = tmp_path / "release"
    body = f"""
        import time
        number = 0
        while not os.path.exists({str(release)!r}):
            number += 1
            emit(event="progress", done=number, total=None)
            time.sleep(0.02)
        emit(event="result", lines=number)
        """
    killed, heard = [], []

    def kill(done, total):
        heard.append(done)
        if len(killed) < 3 and done % 10 == 0:
            running = clients(board.config)
            killed.extend(running[:1])
            for pid in running:
                os.kill(pid, signal.SIGKILL)
        elif len(killed) == 3:
            release.touch()

    with place(body) as device:
        result = device.run(DESCRIBE, out, progress=kill)
    assert heard == list(range(1, result["lines"] + 1))


def clients(config):
    """Return the ssh processes that were told of a configuration."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            words = read(folder / "cmdline").split(b"\0")
            if words[0].endswith(b"ssh") and str(config).encode() in words:
                found.append(int(folder.name))
    return found


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_link_that_does_not_come_back(board, place, out, monkeypatch):
    monkeypatch.setattr(ssh, "PATIENCE", RetryPolicy(0.5, 0.02, 0.1))
    with place("import time; time.sleep(60)") as device:
        board.wire.after = [{"bytes": 0}] * 1000
        board.wire.cut()
        with pytest.raises(StageError) as caught:
            device.run(DESCRIBE, out)
        board.wire.after = []
    lines = str(caught.value).splitlines()
    assert lines[0] == "ssh:board: the link is lost and does not come back"
    assert lines[1].startswith("  found: nothing came through for ")
    assert lines[-1] == (
        "  fix: run the same command again when the device answers: files that were pushed stay "
        "there, and measuring starts anew"
    )


def test_a_job_that_is_stopped_is_stopped_on_the_device_too(board, place, tmp_path, out):
    def stop(done, total):
        raise KeyboardInterrupt

    body = f"""
        import time
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        emit(event="progress", done=1, total=2)
        time.sleep(60)
        """
    with pytest.raises(KeyboardInterrupt), place(body) as device:
        device.run(DESCRIBE, out, progress=stop)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if read(Path(f"/proc/{pid}/stat")).split()[2:3] in ([], [b"Z"]):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("it still runs")
    assert list((board.work / "jobs").iterdir()) == []


def test_two_measurements_at_once_would_disturb_each_other(board, place, tmp_path, out):
    release = tmp_path / "release"
    body = f"""
        import time
        emit(event="progress", done=1, total=1)
        while not os.path.exists({str(release)!r}):
            time.sleep(0.02)
        emit(event="result")
        """

    def second(done, total):
        with place("emit(event='result')") as other, pytest.raises(StageError) as caught:
            other.run(DESCRIBE, out)
        (tmp_path / "message").write_text(str(caught.value))
        release.touch()

    with place(body) as device:
        device.run(DESCRIBE, out, progress=second)
    lines = (tmp_path / "message").read_text().splitlines()
    group = lines[1].split()[-1]
    assert lines == [
        "ssh:board: another measurement runs on the device",
        f"  found: process group {group}",
        f"  fix: wait until it ends, or end it there: kill -- -{group}",
    ]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV."),
        ("sys.stderr.write('x' * 9000 + '\\nout of memory'); sys.exit(3)", "out of memory"),
        ("print('loaded'); sys.exit(0)", "exit code 0, but no result."),
        ("emit(event='result'); sys.exit(4)", "exit code 4."),
    ],
)
def test_an_agent_that_ends_badly(place, out, body, found):
    with place(body) as device, pytest.raises(StageError) as caught:
        device.run(Job("outputs", ()), out)
    head = "agent: the agent did not finish the job 'outputs'\n  found: "
    assert str(caught.value).startswith(head)
    assert str(caught.value).endswith(found)


def test_the_job_is_gone(board, place, out):
    def kill_all(done, total):
        # The runner, which alone could leave how the job ended; then the agent.
        started = next((board.work / "jobs").glob("*/started")).read_text()
        os.killpg(int(started.split(":")[1].strip(" }")), signal.SIGKILL)

    body = "import time; emit(event='progress', done=1, total=1); time.sleep(60)"
    with place(body) as device, pytest.raises(StageError) as caught:
        device.run(DESCRIBE, out, progress=kill_all)
    assert str(caught.value) == (
        "ssh:board: the job is gone from the device\n"
        "  found: it neither runs nor left how it ended\n"
        "  fix: did the device restart, run out of memory, or end all processes at log-out "
        "(KillUserProcesses of systemd-logind)?"
    )


def test_wheels_and_python_are_for_devices_that_have_one(tmp_path):
    with pytest.raises(SpecError) as caught:
        connect("local", HERE, agent=tmp_path / "agent.pyz")
    assert str(caught.value) == (
        "--on: --wheels and --python are for a device with a Python of its own\n"
        "  found: 'local'\n"
        "  expected: ssh:HOST"
    )
