"""The stage that asks which pictures are the device's, and what is told of a method."""

import numpy as np
import pytest

from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.tasks.classification.fit.shift import _told, shift_stage


def features(store, name, moved):
    def make(folder, _):
        rows = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
        np.save(folder / "features.npy", rows + moved)
        return {}

    return store.keep(Stage(name, {"moved": moved}, make))


@pytest.mark.parametrize(("moved", "told_apart"), [(0.0, False), (3.0, True)])
def test_a_device_is_told_apart_where_its_features_moved(tmp_path, moved, told_apart):
    store = Store(tmp_path)
    mine, theirs = features(store, "mine", 0.0), features(store, "theirs", moved)
    kept = store.keep(shift_stage(mine, 50, theirs, 0))
    assert (kept.record["ci95"][0] > 0.5) == told_apart
    assert (kept.record["labelled"], kept.record["device"]) == (50, 60)
    assert np.load(kept.file("log_odds.npy")).shape == (50,)


def test_each_method_is_told_in_its_own_words():
    weighed = {"effective": 12.4, "labelled": 50}
    assert _told("reweight", weighed) == "50 labelled pictures weigh as much as 12 equal ones"
    assert _told("align", {"moved": 0.257}) == "labelled features moved by 0.26 of their spread"
    assert _told("norms", {"layers": 3, "pictures": 40}) == "3 batch norms set by 40 pictures"
