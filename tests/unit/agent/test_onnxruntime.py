"""A runtime that is too old says so, not that an IR version is unsupported."""

import sys
from types import SimpleNamespace

import pytest

from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession

REFUSED = "Unsupported model IR version: 10, max supported IR version: 9"


@pytest.fixture
def runtime(monkeypatch):
    """Stand in for ONNX Runtime of some version, which takes no file."""

    def of(version):
        def refuse(*_, **__):
            raise RuntimeError(REFUSED)

        options = lambda: SimpleNamespace(add_session_config_entry=None)  # noqa: E731
        made = SimpleNamespace(__version__=version, InferenceSession=refuse, SessionOptions=options)
        monkeypatch.setitem(sys.modules, "onnxruntime", made)

    return of


@pytest.mark.parametrize("version", ["1.16.3", "1.17.1", "0.5.0"])
def test_d6_a_runtime_that_is_too_old(runtime, version):
    """Fault D6: a raw error of the IR version, and no document named the oldest runtime."""
    runtime(version)
    with pytest.raises(Unavailable) as caught:
        OnnxSession("model.onnx")
    assert str(caught.value) == (
        f"ONNX Runtime {version} is too old for this bundle, which needs 1.18 or later: "
        f"python3 -m pip install -U onnxruntime ({REFUSED})"
    )


@pytest.mark.parametrize("version", ["1.18.0", "1.19.2", "1.32.0"])
def test_other_refusals_keep_their_words(runtime, version):
    runtime(version)
    with pytest.raises(RuntimeError, match="Unsupported model IR version"):
        OnnxSession("model.onnx")
