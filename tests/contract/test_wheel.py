"""The wheel holds all that the commands need, and nothing of the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (file,) = folder.glob("*.whl")
    return file


def test_it_holds_the_catalogue_the_weights_and_the_page(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for target in ROOT.glob("targets/*.toml"):
        assert f"edgetransfer/_catalogue/targets/{target.name}" in names
    for name in (
        "edgetransfer/_catalogue/calibration/recipes/default.toml",
        "edgetransfer/backbone/weights/tiny-64/model.safetensors",
        "edgetransfer/report/templates/page.html.j2",
        "edgetransfer/transport/browser/page/index.html",
        "edgetransfer/transport/browser/page/worker.js",
        "edgetransfer/py.typed",
    ):
        assert name in names


def test_the_installed_wheel_lists_its_targets(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import edgetransfer; "
        "assert edgetransfer.__file__.startswith(sys.argv[1]), edgetransfer.__file__; "
        "from edgetransfer.spec import catalogue; print(*catalogue.names('targets'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "site")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == sorted(file.stem for file in ROOT.glob("targets/*.toml"))


def test_the_weights_are_small(wheel):
    for info in zipfile.ZipFile(wheel).infolist():
        assert info.file_size < 2_500_000, info.filename
