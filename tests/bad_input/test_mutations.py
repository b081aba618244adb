"""D3: every JSON file of a bundle, one place of it changed: taken as it is, or one message.

``make test-mutations`` tries thousands, this a few.
"""

import contextlib
import copy
import json
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.bundle.readers import read_portability
from edgetransfer.errors import EdgeTransferError
from edgetransfer.pipeline.bench.bench import golden_of
from tests.bad_input.nonsense import reseal, write_report

MOST = int(os.environ.get("EDGETRANSFER_TEST_MUTATIONS", "40"))
DEEP = json.loads("[" * 30 + "]" * 30)
GONE = object()
NEW = [GONE, None, True, -1, 0, 10**30, 1e300, -1e300, 1e-300, "x", "", [], {}, [[]], {"x": None},
       DEEP, "\0\x1b[2J", "../../x"]  # fmt: skip
READ_BY = {
    "manifest.json": ["report", "predict", "head", "compare", "compare as JSON"],
    "report.json": ["report", "compare", "compare as JSON"],
    "portability.json": ["bench"],
    "preprocess.json": ["predict"],
    "measure/golden/index.json": ["bench"],
}
SEALED = {"preprocess.json", "measure/golden/index.json"}


def places(value, place=()):
    """Every place of a JSON value; of a list the first two."""
    if place:
        yield place
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*place, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 2)):
            yield from places(value[index], (*place, index))


def changed(value, place, new):
    value = copy.deepcopy(value)
    within = value
    for key in place[:-1]:
        within = within[key]
    if new is GONE:
        del within[place[-1]]
    else:
        within[place[-1]] = new
    return value


@pytest.mark.parametrize("file", READ_BY)
@settings(
    max_examples=MOST,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_one_place_changed(file, data, sound, pictures, tmp_path, run):
    whole = json.loads((sound / file).read_text())
    place = data.draw(st.sampled_from(list(places(whole))))
    value = changed(whole, place, data.draw(st.sampled_from(NEW)))
    bundle = tmp_path / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(sound, bundle, copy_function=os.link)
    (bundle / file).unlink()
    (bundle / file).write_text(json.dumps(value))
    if file == "report.json":
        with contextlib.suppress(ValueError):  # what no digest can be taken of
            write_report(bundle, value, open_bundle(sound))
    elif file == "manifest.json":
        with contextlib.suppress(ValueError, AttributeError):
            reseal(bundle)
    elif file in SEALED:
        reseal(bundle)
    way = data.draw(st.sampled_from(READ_BY[file]))
    if way == "bench":  # what it reads before it measures, which takes seconds
        with contextlib.suppress(EdgeTransferError):
            read_portability(bundle / "portability.json")
            golden_of(open_bundle(bundle))
        return
    words = {
        "report": ["report", bundle],
        "compare": ["compare", bundle, sound],
        "compare as JSON": ["compare", "--json", sound, bundle],
        "predict": ["predict", bundle, pictures / "ant" / "0.png"],
        "head": ["head", "export", bundle, tmp_path / "head"],
    }[way]
    code, told = run(*words)
    assert code in (0, 3, 4, 6, 9), told
