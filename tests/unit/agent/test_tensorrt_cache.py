"""Engines are kept for the very machine that built them, whole, and where nobody else writes."""

import json

import pytest

from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.runtimes.tensorrt.session import EngineCache, folder_of

KEY = {
    "runtime": "tensorrt 10.13.3.9",
    "gpu": "Orin",
    "compute_capability": "8.7",
    "driver": "CUDA 12.6",
    "power_mode": "NV Power Mode: 15W 0",
    "model": "ab" * 32,
    "settings": "((1, 1, 8), False)",
}


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "engines")


def plans(tmp_path):
    return sorted(file.read_bytes() for file in (tmp_path / "engines").glob("*.plan"))


def test_an_engine_comes_back_to_the_key_that_it_was_built_under(cache):
    cache.keep(KEY, b"engine")
    assert cache.take(KEY) == b"engine"


@pytest.mark.parametrize("part", sorted(KEY))
def test_it_is_stale_as_soon_as_any_part_changes(cache, part):
    cache.keep(KEY, b"engine")
    assert cache.take({**KEY, part: "another"}) is None


def test_a_stale_engine_makes_room_for_the_new_one(cache, tmp_path):
    cache.keep(KEY, b"old driver")
    cache.keep({**KEY, "driver": "CUDA 13.0"}, b"new driver")
    assert plans(tmp_path) == [b"new driver"]


def test_engines_of_other_models_and_settings_stay(cache, tmp_path):
    for number, part in enumerate(({}, {"model": "cd" * 32}, {"settings": "other"})):
        cache.keep({**KEY, **part}, b"%d" % number)
    assert plans(tmp_path) == [b"0", b"1", b"2"]


def test_a_damaged_engine_is_not_taken(cache, tmp_path):
    cache.keep(KEY, b"engine")
    (plan,) = (tmp_path / "engines").glob("*.plan")
    plan.write_bytes(b"engino")
    assert cache.take(KEY) is None


def test_a_damaged_record_is_not_taken_and_goes(cache, tmp_path):
    cache.keep(KEY, b"engine")
    (record,) = (tmp_path / "engines").glob("*.json")
    record.write_text("{")
    assert cache.take(KEY) is None
    cache.keep(KEY, b"again")
    assert cache.take(KEY) == b"again"
    assert json.loads(record.read_text())["key"] == KEY


def test_timings_are_those_of_the_device_whatever_the_model(cache):
    cache.keep_timings(KEY, b"timed")
    assert cache.timings({**KEY, "model": "cd" * 32}) == b"timed"
    assert cache.timings({**KEY, "gpu": "Thor"}) == b""


def test_a_folder_that_others_may_write_to_is_refused(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Unavailable) as caught:
        EngineCache(folder)
    assert str(caught.value) == (
        f"{folder}: engines are code, and others than this user can write there; chmod 700 it, or "
        "name another folder in EDGETRANSFER_ENGINES"
    )


def test_where_engines_are_kept(tmp_path):
    assert str(folder_of({"EDGETRANSFER_ENGINES": "/engines"})) == "/engines"
    assert str(folder_of({"XDG_CACHE_HOME": "/cache"})) == "/cache/edgetransfer/engines"
