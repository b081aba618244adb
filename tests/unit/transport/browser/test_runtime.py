"""The runtime for browsers is fetched by npm, and every file of it is known by its digest."""

import hashlib
import stat
import tarfile

import pytest

from edgetransfer.errors import IntegrityError, StageError, UnsupportedError
from edgetransfer.transport.browser import runtime

CONTENT = {name: name.encode() for files in runtime.FILES.values() for name in files}


@pytest.fixture
def known(monkeypatch):
    """Files whose content is their name, with the digests of that."""
    files = {
        engine: {name: hashlib.sha256(CONTENT[name]).hexdigest() for name in names}
        for engine, names in runtime.FILES.items()
    }
    monkeypatch.setattr(runtime, "FILES", files)


@pytest.fixture
def npm(tmp_path):
    """Write a stand-in for npm that packs some files, or fails."""

    def write(content, code=0):
        source = tmp_path / "source" / "package" / "dist"
        source.mkdir(parents=True)
        for name, data in content.items():
            (source / name).write_bytes(data)
        with tarfile.open(tmp_path / "made.tgz", "w:gz") as archive:
            archive.add(tmp_path / "source" / "package", "package")
        program = tmp_path / "npm"
        program.write_text(
            f'#!/bin/sh\n[ "$*" = "pack --silent onnxruntime-web@1.30.0" ] || exit 9\n'
            f"[ {code} = 0 ] || {{ echo 'npm error no network' >&2; exit {code}; }}\n"
            f"cp {tmp_path}/made.tgz onnxruntime-web-1.30.0.tgz\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return str(program)

    return write


def test_it_is_fetched_once_and_found_again(known, npm, tmp_path):
    kept = tmp_path / "kept"
    assert runtime.prepare(kept, npm=npm(CONTENT)) == kept
    assert sorted(file.name for file in kept.iterdir()) == sorted(CONTENT)
    assert runtime.prepare(kept, npm="absent") == kept
    found = runtime.prepared("wasm", kept)
    assert {name: file.read_bytes() for name, file in found.items()} == {
        name: CONTENT[name] for name in runtime.FILES["wasm"]
    }


def test_what_is_not_prepared_names_the_command(tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        runtime.prepared("wasm", tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: the runtime for browsers is not prepared\n"
        "  found: no ort.wasm.min.mjs, ort-wasm-simd-threaded.mjs, ort-wasm-simd-threaded.wasm\n"
        "  fix: edgetransfer doctor --prepare browser"
    )


def test_a_changed_file_is_refused_every_time(known, npm, tmp_path):
    kept = runtime.prepare(tmp_path / "kept", npm=npm(CONTENT))
    file = kept / "ort-wasm-simd-threaded.mjs"
    file.write_bytes(b"changed")
    expected = hashlib.sha256(CONTENT[file.name]).hexdigest()
    for look in (
        lambda: runtime.prepared("wasm", kept),
        lambda: runtime.prepare(kept),
    ):
        with pytest.raises(IntegrityError) as caught:
            look()
        assert str(caught.value) == (
            f"{file}: not the file that was fetched\n"
            f"  found: sha256 {hashlib.sha256(b'changed').hexdigest()}\n"
            f"  expected: sha256 {expected}\n"
            f"  fix: delete {kept} and run edgetransfer doctor --prepare browser"
        )


def test_another_package_is_not_kept(npm, tmp_path):
    kept = tmp_path / "kept"
    with pytest.raises(IntegrityError, match="not the file that was fetched"):
        runtime.prepare(kept, npm=npm(CONTENT))
    assert list(kept.iterdir()) == []


def test_npm_that_fails(npm, tmp_path):
    with pytest.raises(StageError) as caught:
        runtime.prepare(tmp_path / "kept", npm=npm(CONTENT, code=1))
    assert str(caught.value).endswith(
        "npm pack --silent onnxruntime-web@1.30.0: npm did not fetch the runtime for browsers\n"
        "  found: npm error no network"
    )


def test_without_npm(tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        runtime.prepare(tmp_path / "kept", npm="absent-npm")
    assert str(caught.value) == (
        "fetching onnxruntime-web@1.30.0 needs npm, which is not installed\n"
        "  fix: apt-get install -y --no-install-recommends npm"
    )
