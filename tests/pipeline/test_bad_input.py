"""Bad input: one clear error, an exit code other than 0 and 1, no traceback."""

import os
import shutil
import subprocess
import sys

import pytest

CLEAR = ("found", "expected", "fix")


def build(command, *words, cache):
    return command("build", *words, "--cache", cache, "--timing", "quick")


def test_missing_folder(command, tmp_path, cache):
    code, _, error = build(command, tmp_path / "nowhere", cache=cache)
    assert code == 4
    assert error.startswith(f"error: {tmp_path / 'nowhere'}: ")
    assert "  expected: " in error


def test_no_data_at_all(command, cache):
    code, _, error = build(command, cache=cache)
    assert code == 3
    assert error == (
        "error: command line: no data was named\n"
        "  expected: a folder of pictures or a table: edgetransfer build DATA\n"
    )


def test_one_class(command, pictures, tmp_path, cache):
    shutil.copytree(pictures / "train" / "disc", tmp_path / "data" / "disc")
    code, _, error = build(command, tmp_path / "data", cache=cache)
    assert code == 4
    assert "class" in error


def test_broken_pictures_are_all_named(command, pictures, tmp_path, cache):
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    for name in ("train/disc/00.png", "test/square/03.png"):
        (data / name).write_bytes((data / name).read_bytes()[:60])
    code, _, error = build(command, data, cache=cache)
    assert code == 4
    assert "train/disc/00.png" in error
    assert "test/square/03.png" in error


def test_empty_cells_are_named_by_row(command, pictures, tmp_path, cache):
    files = sorted(pictures.glob("train/*/*.png"))
    rows = [f"{file},{file.parent.name}" for file in files]
    rows[4] = f"{files[4]},"
    rows[7] = ",disc"
    (tmp_path / "table.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    code, _, error = build(command, tmp_path / "table.csv", cache=cache)
    assert code == 4
    assert "row 6" in error
    assert "row 9" in error


def test_pickled_weights(command, pictures, tmp_path, cache):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    code, _, error = build(command, pictures, "--backbone", tmp_path / "model", cache=cache)
    assert code == 9
    assert error == (
        f"error: --backbone {tmp_path / 'model'}: the weights are a pickle, which can run any code "
        "when it is opened\n"
        "  found: pytorch_model.bin\n"
        "  expected: weights as .safetensors\n"
        "  fix: take a revision with safetensors, or convert it where you trust it: "
        "safetensors.torch.save_model(model, 'model.safetensors')\n"
    )


def test_absent_backbone(command, pictures, cache):
    code, _, error = build(command, pictures, "--backbone", "./nowhere", cache=cache)
    assert code == 3
    assert error == (
        "error: --backbone ./nowhere: no such backbone\n"
        "  expected: hf:ORG/NAME, timm:NAME, builtin:NAME, a local folder, or a .onnx file\n"
    )


def test_unknown_target(command, pictures, cache):
    code, _, error = build(command, pictures, "--target", "toaster", cache=cache)
    assert code == 3
    assert error.startswith("error: no target is called 'toaster'\n  expected: ")


def test_negative_budget(command, pictures, cache):
    code, _, error = build(command, pictures, "--max-drop", "-1", cache=cache)
    assert code == 3
    assert error == ("error: command line: --max-drop: should be greater than 0 (found -1.0)\n")


def test_output_under_a_file(command, pictures, tmp_path, cache):
    (tmp_path / "file").write_text("")
    code, _, error = build(command, pictures, "--out", tmp_path / "file" / "x", cache=cache)
    assert code == 7
    assert error.startswith(
        f"error: {tmp_path / 'file' / 'x'}: a file stands where a folder is needed\n"
    )


def test_texts_for_a_picture_backbone(command, tmp_path, cache):
    rows = [f"a text number {i},{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    code, _, error = build(command, tmp_path / "texts.csv", cache=cache)
    assert code == 3
    assert error.endswith(
        "error: --backbone builtin:tiny-64: the built-in backbone takes pictures, and the "
        "examples are texts\n"
        "  fix: give a text encoder: --backbone hf:ORG/NAME or a local folder\n"
    )


def test_not_a_bundle(command, tmp_path):
    code, _, error = command("bench", tmp_path)
    assert code == 3
    assert error == (
        f"error: {tmp_path}: not a bundle\n"
        "  found: no manifest.json\n"
        "  expected: a folder that `edgetransfer build` wrote: OUT/TARGET\n"
    )


def mounted(options, script, *arguments):
    """Run a shell script in a mount namespace of its own, with a small file system at $1."""
    program = f'set -e; mount -t tmpfs -o {options} none "$1"; {script}'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", program, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mount")
    if shutil.which("unshare") is None or mounted("size=1m", "true", folder).returncode != 0:
        pytest.skip("needs the right to mount a small file system")


COMMAND = '"$2" -m edgetransfer build "$3" --timing quick'


@pytest.mark.usefixtures("can_mount")
@pytest.mark.parametrize(
    ("options", "where", "message"),
    [
        ("size=8k", '--cache "$1/cache"', "no space left on the disk"),
        ("ro", '--out "$1/out"', "the file system is read-only"),
    ],
)
def test_disks(pictures, tmp_path, options, where, message):
    elsewhere = '--out "$4/out"' if "--cache" in where else '--cache "$4/cache"'
    (tmp_path / "disk").mkdir()
    done = mounted(
        options,
        f"{COMMAND} {where} {elsewhere}",
        tmp_path / "disk", sys.executable, pictures, tmp_path,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert f": {message}\n" in done.stderr
    assert "  fix: " in done.stderr
    assert "Traceback" not in done.stderr
