"""The line that brings wheels fits the device, and so do the wheels that are pushed."""

import shlex
from dataclasses import replace
from importlib.metadata import version

import pytest

from edgetransfer.errors import SpecError
from edgetransfer.transport.wheels import WheelTarget, fitting

PI = WheelTarget((3, 11), "Linux", "aarch64", 64, "glibc 2.36")
NUMPY = "numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"
RUNTIME = "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl"


@pytest.fixture
def wheels(tmp_path):
    def write(*names):
        for name in names:
            (tmp_path / name).touch()
        return tmp_path

    return write


def test_a_recent_python_gets_the_versions_of_this_machine():
    assert PI.download("pi wheels") == (
        "pip download --dest 'pi wheels' --no-deps --only-binary=:all: --python-version 3.11 "
        "--implementation cp --abi cp311 --platform manylinux2014_aarch64 "
        "--platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 "
        f"numpy=={version('numpy')} onnxruntime=={version('onnxruntime')}"
    )


@pytest.mark.parametrize(
    ("python", "pins"),
    [
        ((3, 9), ["numpy==2.0.2", "onnxruntime==1.19.2"]),
        ((3, 10), ["numpy==2.2.6", "onnxruntime==1.23.2"]),
    ],
)
def test_an_older_python_gets_the_last_that_were_made_for_it(python, pins):
    words = shlex.split(replace(PI, python=python).download("w"))
    assert words[-2:] == pins
    assert f"cp3{python[1]}" in words


@pytest.mark.parametrize(
    ("changed", "obstacle"),
    [
        ({}, None),
        (
            {"machine": "riscv64"},
            "ONNX Runtime has no wheels for riscv64: use Debian 13 and its python3-onnxruntime",
        ),
        ({"libc": ""}, "ONNX Runtime has no wheels for a system without glibc (Alpine): use another"),  # noqa: E501
        ({"libc": "glibc 2.27"}, "ONNX Runtime needs glibc 2.28 or newer: install a newer system"),
        ({"system": "Darwin"}, "on Darwin, install them there: pip install numpy onnxruntime"),
    ],
)  # fmt: skip
def test_what_stands_against_wheels(changed, obstacle):
    assert replace(PI, **changed).obstacle() == obstacle


def test_wheels_that_fit(wheels):
    assert [each.name for each in fitting(wheels(RUNTIME, NUMPY), PI)] == [NUMPY, RUNTIME]


def test_wheels_that_lack(wheels):
    folder = wheels(NUMPY)
    with pytest.raises(SpecError) as caught:
        fitting(folder, PI)
    assert str(caught.value) == (
        f"--wheels {folder}: the wheels are not complete\n"
        f"  found: {NUMPY}\n"
        "  expected: numpy and onnxruntime\n"
        f"  fix: {PI.download(str(folder))}"
    )


def test_wheels_of_another_architecture(wheels):
    folder = wheels(NUMPY, RUNTIME)
    x86 = replace(PI, machine="x86_64")
    with pytest.raises(SpecError) as caught:
        fitting(folder, x86)
    assert str(caught.value) == (
        f"{folder / NUMPY}: the wheel does not fit the device\n"
        "  found: it is for manylinux_2_27_aarch64.manylinux_2_28_aarch64, the device is Linux "
        "x86_64\n"
        f"  fix: rm -r {folder}; {x86.download(str(folder))}"
    )


def test_wheels_of_the_stable_interface_fit_newer_pythons():
    assert PI.misfit("a-1-cp39-abi3-manylinux2014_aarch64.whl") is None
    assert PI.misfit("a-1-cp312-abi3-manylinux2014_aarch64.whl") == (
        "it is for cp312, the device has Python 3.11"
    )


def test_what_is_no_name_of_a_wheel():
    assert PI.misfit("numpy.whl") == "its name does not say for what it is"
