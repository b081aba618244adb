"""What an engine is built for, and what is said where TensorRT cannot be had."""

import sys
import types

import pytest

from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.runtimes.tensorrt.build import Settings, load, settings_from


def test_entries_of_other_runtimes_are_not_read():
    config = {"session.x64quantprecision": "1", "tensorrt.length": "1,32,128"}
    assert settings_from(config) == Settings(length=(1, 32, 128))


@pytest.mark.parametrize("text", ["1,8", "8,1,1", "0,1,8"])
def test_sizes_that_do_not_rise_are_refused(text):
    with pytest.raises(Unavailable) as caught:
        settings_from({"tensorrt.batch": text})
    assert str(caught.value) == (
        f"tensorrt.batch: found {text!r}, expected three rising sizes: 1,1,8"
    )


@pytest.mark.parametrize(
    "entry", [{"tensorrt.tf32": "yes"}, {"tensorrt.workspace_mib": "much"}, {"tensorrt.batch": "a"}]
)
def test_words_for_numbers_are_refused(entry):
    ((key, text),) = entry.items()
    with pytest.raises(Unavailable, match=f"^{key}: found {text!r}, expected"):
        settings_from(entry)


def test_an_unknown_setting_is_refused():
    with pytest.raises(Unavailable) as caught:
        settings_from({"tensorrt.fp16": "1"})
    assert str(caught.value) == (
        "no such setting: found 'tensorrt.fp16', expected one of tensorrt.batch, tensorrt.length, "
        "tensorrt.tf32, tensorrt.optimisation_level, tensorrt.workspace_mib, tensorrt.at_least, "
        "tensorrt.compute_capability, tensorrt.dla, tensorrt.rebuild"
    )


@pytest.fixture
def absent(monkeypatch):
    for name in ("tensorrt", "tensorrt_bindings"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("absent")
def test_without_tensorrt_the_lines_that_install_it_are_told():
    with pytest.raises(Unavailable) as caught:
        load("TensorRT")
    assert str(caught.value) == (
        "TensorRT cannot be loaded here (tensorrt: import of tensorrt halted; None in sys.modules; "
        "tensorrt_bindings: import of tensorrt_bindings halted; None in sys.modules); on a Jetson: "
        "sudo apt-get install python3-libnvinfer (the TensorRT of its JetPack; the wheels of `pip "
        "install tensorrt` are for PCs and servers); elsewhere: pip install tensorrt"
    )


@pytest.mark.parametrize(
    ("found", "wanted"), [("8.6.2", None), ("10.0.0b6", "10.3"), ("11.4.0.106", "11.4.1")]
)
def test_a_version_that_is_too_old_is_refused(monkeypatch, found, wanted):
    monkeypatch.setitem(sys.modules, "tensorrt", types.SimpleNamespace(__version__=found))
    with pytest.raises(Unavailable) as caught:
        load("TensorRT", wanted)
    assert str(caught.value) == (
        f"TensorRT {found} is too old: expected {wanted or '10.0'} or newer; on a Jetson TensorRT "
        "comes with JetPack: update that, or build for the target of the JetPack that is there; "
        "elsewhere: pip install --upgrade tensorrt"
    )


def test_a_version_that_will_do_is_taken(monkeypatch):
    module = types.SimpleNamespace(__version__="11.4.1.20")
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert load("TensorRT", "11.4.1") is module


@pytest.mark.parametrize("found", ["10.3.0.30", "10.13.3.9.post1", "11.4.0.106"])
def test_every_jetpack_of_now_is_taken(monkeypatch, found):
    """F: JetPack 6 ships 10.3, JetPack 7.0 and 7.1 ship 10.13."""
    module = types.SimpleNamespace(__version__=found)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert load("TensorRT") is module
