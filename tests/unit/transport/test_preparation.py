"""A processor is prepared whole or not at all, and anew when its recipe changed."""

import zipfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgetransfer.errors import StageError
from edgetransfer.spec import catalogue
from edgetransfer.spec.target import EmulatedProcessor
from edgetransfer.transport import debian, qemu

EMULATOR = "#!/bin/sh\necho 'qemu-riscv64 version 10.0.13 (Debian)'\n"
PACKAGE = "qemu-user-s.deb"
PREVIEW = EmulatedProcessor.model_validate(
    {
        "name": "test",
        "title": "a processor",
        "arch": "test",
        "emulator": {"program": "qemu-riscv64", "cpu": "one", "min_version": 10, "suite": "s"},
        "sysroot": {"architecture": "test", "suite": "s", "packages": ["p"], "python": "3.11"},
        "evidence": {"status": "declared", "source": "a test", "date": "2026-01-01"},
    }
)


@pytest.fixture
def packages(monkeypatch):
    """Stand in for Debian: the emulator is a script, the guest's Python a file."""
    fetched = []

    def fetch(packages, suite, architecture, mirror, room, **_):
        fetched.append(packages)
        (room / "package.deb").touch()
        return [room / "package.deb"]

    def unpack_one(package, member, target):
        assert member == "usr/bin/qemu-riscv64"
        target.write_text(EMULATOR)
        target.chmod(0o755)

    monkeypatch.setattr(debian, "own_architecture", lambda: "mine")
    monkeypatch.setattr(debian, "system_mirror", lambda: debian.Mirror("m", Path("k")))
    monkeypatch.setattr(debian, "fetch", fetch)
    monkeypatch.setattr(debian, "unpack", lambda files, root: None)
    monkeypatch.setattr(debian, "unpack_one", unpack_one)
    monkeypatch.setattr(qemu, "_try", lambda _: {"onnxruntime": "1"})
    return fetched


def test_prepared_once_and_found(packages, tmp_path):
    assert qemu.find(PREVIEW, tmp_path) is None
    told = []
    record = qemu.prepare(PREVIEW, tmp_path, told.append)
    assert told == ["qemu-riscv64 of s", "1 packages of s for test", "a first run"]
    assert packages == [("qemu-user",), ("p",)]
    assert (record["emulator_version"], record["runtimes"]) == ("10.0.13", {"onnxruntime": "1"})
    found = qemu.find(PREVIEW, tmp_path)
    folder = Path(record["folder"])
    assert found.command() == (
        *(str(folder / "bin" / "qemu-riscv64"), "-cpu", "one", "-L", str(folder / "root")),
        *("-E", "LD_LIBRARY_PATH=", str(folder / "root" / "usr" / "bin" / "python3.11")),
    )
    assert qemu.prepare(PREVIEW, tmp_path, told.append)["seconds"] == 0
    assert len(packages) == 2


def test_a_changed_recipe_is_prepared_anew_and_the_old_one_removed(packages, tmp_path):
    old = Path(qemu.prepare(PREVIEW, tmp_path, str)["folder"])
    changed = PREVIEW.model_copy(
        update={"emulator": PREVIEW.emulator.model_copy(update={"cpu": "two"})}
    )
    assert qemu.find(changed, tmp_path) is None
    new = Path(qemu.prepare(changed, tmp_path, str)["folder"])
    assert new != old
    assert {each.name for each in (tmp_path / "sysroots").iterdir()} == {new.name, PACKAGE}
    assert packages.count(("qemu-user",)) == 1


def test_evidence_is_no_part_of_the_recipe(tmp_path):
    told = PREVIEW.model_copy(
        update={"evidence": PREVIEW.evidence.model_copy(update={"source": "another test"})}
    )
    assert qemu.folder_of(told, tmp_path) == qemu.folder_of(PREVIEW, tmp_path)


def test_what_fails_on_the_way_leaves_nothing(packages, tmp_path, monkeypatch):
    def fails(*_):
        raise StageError("no")

    monkeypatch.setattr(qemu, "_try", fails)
    with pytest.raises(StageError):
        qemu.prepare(PREVIEW, tmp_path, str)
    assert [each.name for each in (tmp_path / "sysroots").iterdir()] == [PACKAGE]
    assert qemu.find(PREVIEW, tmp_path) is None


@pytest.mark.parametrize(("version", "taken"), [("10.0.2", True), ("7.2.22", False)])
def test_the_systems_emulator_is_taken_where_it_is_new_enough(
    packages, tmp_path, monkeypatch, version, taken
):
    program = tmp_path / "bin" / "qemu-riscv64"
    program.parent.mkdir()
    program.write_text(EMULATOR.replace("10.0.13", version))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    bare = PREVIEW.model_copy(update={"sysroot": None})
    found = qemu.find(bare, tmp_path)
    assert (found is not None and found.program == program) == taken
    record = qemu.prepare(PREVIEW, tmp_path, str)
    assert (record["program"] == str(program)) == taken
    assert packages == ([] if taken else [("qemu-user",)]) + [("p",)]


@pytest.mark.parametrize("name", catalogue.names("targets/previews"))
def test_every_shipped_processor_is_whole(name):
    preview = catalogue.preview(name)
    assert preview.name == name
    assert preview.emulator.program.startswith("qemu-")
    assert preview.sysroot is None or preview.sysroot.packages


def test_wheels_are_held_against_the_hashes_of_the_preview(tmp_path, monkeypatch):
    """Fault E6: wheels for emulated processors came without hashes."""
    asked = []

    def pip(command, **_):
        hashed = Path(command[-1]).read_text().splitlines() if "-r" in command else []
        asked.append([*command, *hashed])
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(qemu.subprocess, "run", pip)
    guest = catalogue.preview("arm64").sysroot
    for name in ("pinned", "not"):
        room = tmp_path / name
        room.mkdir()
        with zipfile.ZipFile(room / "x.whl", "w") as wheel:
            wheel.writestr("x.py", "")
        held = guest if name == "pinned" else guest.model_copy(update={"wheels": {}})
        assert list(qemu._wheels(held, room, tmp_path / "site")) == ["x.whl"]
    pins = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy")]
    assert asked[1][-2:] == pins
    if set(pins) <= guest.wheels.keys():
        assert "--require-hashes" in asked[0]
        assert asked[0][-2:] == [f"{pin} --hash=sha256:{guest.wheels[pin]}" for pin in pins]
