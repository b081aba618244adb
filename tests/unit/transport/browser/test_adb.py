"""What adb says when a device is not ready becomes one error with its remedy.

The stand-in for adb says what adb 29 was seen to say, or what its sources have; the real daemon is
tried in `tests/device`.
"""

import pytest

from edgetransfer.errors import StageError, UnsupportedError
from edgetransfer.transport.browser import adb, runtime


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Write a stand-in for adb, a shell script that sees its words in "$*"."""

    def write(body):
        (tmp_path / "adb").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "adb").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setattr(runtime, "prepared", lambda engine: {})

    return write


def failure(address="X1"):
    with pytest.raises(StageError) as caught, adb.connect(address, None):
        pass
    return str(caught.value)


def test_a_device_that_is_not_there(program):
    program("echo \"error: device 'X1' not found\" >&2; exit 1")
    assert failure() == (
        "adb -s X1 get-state: adb failed\n"
        "  found: error: device 'X1' not found\n"
        "  fix: adb devices -l"
    )


def test_a_device_that_does_not_allow_it_yet(program):
    program("echo 'error: device unauthorized.' >&2; exit 1")
    assert failure("X1:webgpu") == (
        "adb -s X1 get-state: adb failed\n"
        "  found: error: device unauthorized.\n"
        "  fix: unlock the device and allow this computer to debug it"
    )


def test_several_devices_and_none_named(program):
    program("echo 'error: more than one device/emulator' >&2; exit 1")
    assert failure("").startswith(
        "adb get-state: adb failed\n  found: error: more than one device/emulator\n"
    )


def test_a_device_that_recovers(program):
    program("echo recovery")
    assert failure() == (
        "adb:X1: the device is not ready\n"
        "  found: recovery\n"
        "  expected: device\n"
        "  fix: adb devices -l"
    )


def test_a_device_without_a_browser_and_the_port_is_given_back(program, tmp_path):
    program(
        f"""echo "$*" >>{tmp_path}/log
        case "$*" in
            *get-state) echo device ;;
            *"reverse tcp:0"*) echo 41234 ;;
            *"am start"*) echo "Starting: Intent"; echo "Error: Activity not started" ;;
        esac"""
    )
    assert failure() == (
        "adb:X1: the device did not open the page\n"
        "  found: Error: Activity not started\n"
        "  fix: set a default browser on the device"
    )
    log = (tmp_path / "log").read_text().splitlines()
    assert "-d http://127.0.0.1:41234/" in log[-2]
    assert log[-1] == "-s X1 reverse --remove tcp:41234"


def test_without_adb(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError) as caught, adb.connect("X1", None):
        pass
    assert str(caught.value) == (
        "--on adb:X1: speaking to an Android device needs adb, which is not installed\n"
        "  fix: apt-get install -y --no-install-recommends adb"
    )
