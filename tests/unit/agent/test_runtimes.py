"""Runtimes are found by their names, and none is loaded before a model is opened."""

import subprocess
import sys

import pytest

from edgetransfer.agent import runtimes
from edgetransfer.agent.runtimes import Unavailable


def test_what_there_is():
    assert runtimes.names() == ["litert", "onnxruntime", "openvino", "tensorrt"]
    for name in runtimes.names():
        assert callable(runtimes.plugin(name).open_session)


def test_no_two_runtimes_have_a_provider_of_one_name():
    names = [provider for provider, _ in runtimes.providers()]
    assert len(names) == len(set(names))


def test_a_runtime_that_is_not_there():
    with pytest.raises(Unavailable) as caught:
        runtimes.open_session({"runtime": "tensorflow"})
    assert str(caught.value) == (
        "no such runtime: found 'tensorflow', expected litert, onnxruntime, openvino, tensorrt"
    )


@pytest.mark.parametrize("name", runtimes.names())
def test_a_plug_in_loads_no_runtime_when_it_is_imported(name):
    program = (
        f"import sys; from edgetransfer.agent import runtimes; runtimes.plugin({name!r}); "
        "print([each for each in ('onnxruntime', 'openvino', 'tensorrt') if each in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
