"""What a build takes: estimated before it from what others took, and told after it."""

import json
import re
from types import SimpleNamespace

import pytest

from edgetransfer.agent.system import System
from edgetransfer.backbone.sources import locate
from edgetransfer.pipeline import cost
from edgetransfer.pipeline.stage import stage as stages
from edgetransfer.pipeline.stage.stage import Cost
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.catalogue import shipped
from edgetransfer.spec.recipe import recipe_from

MEASURED = json.loads(shipped(cost.MEASURED).read_text())


def run_of(source, store=None, **options):
    recipe = recipe_from({"data": str(source), "soundness": True, **options})
    return SimpleNamespace(
        recipe=recipe,
        source=locate("builtin:tiny-64"),
        targets=("one",),
        candidates=(),
        teacher=None,
        store=store,
    )


@pytest.fixture
def photos(tmp_path):
    """400 names: nothing is opened for an estimate."""
    folder = tmp_path / "photos"
    for number in range(400):
        file = folder / "ab"[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


@pytest.mark.parametrize("name", MEASURED)
def test_the_estimate_of_a_measured_build_spans_what_it_took(name, photos):
    """Every run of ``benchmarks/results/stages.json``, on a machine as it was measured on."""
    measured = MEASURED[name]
    work = cost.Workload(**{each: measured[each] for each in NAMED}, recipe="")
    seconds = cost.seconds_like(measured, work, measured["environment"]["cores"], run_of(photos))
    least, most = (seconds * factor for factor in cost.SPREAD)
    assert [each for each in measured["each"] if not least < each < most] == []


NAMED = ("task", "kind", "examples", "network_bytes", "fit", "targets")
PAIRS = [(a, b) for a in MEASURED for b in MEASURED if MEASURED[a]["kind"] == MEASURED[b]["kind"]]


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_one_measured_build_tells_of_another_within_a_factor_of_two(name, other, photos):
    work = cost.Workload(**{each: MEASURED[other][each] for each in NAMED}, recipe="")
    found = cost.seconds_like(MEASURED[name], work, 2, run_of(photos))
    assert 0.5 < found / MEASURED[other]["seconds"] < 2


def test_more_examples_a_larger_network_and_fewer_processors_take_longer(photos):
    measured = next(iter(MEASURED.values()))
    values = {each: measured[each] for each in NAMED}

    def seconds(cores=2, run=None, **other):
        work = cost.Workload(**{**values, **other}, recipe="")
        return cost.seconds_like(measured, work, cores, run or run_of(photos))

    usual = seconds()
    assert seconds(examples=10 * values["examples"]) > 1.5 * usual
    assert seconds(network_bytes=4 * values["network_bytes"]) > 2 * usual
    assert 1.2 * usual < seconds(cores=1) < 2 * usual
    assert seconds(cores=64) == pytest.approx(usual)
    assert seconds(targets=2) > 1.4 * usual
    assert seconds(run=run_of(photos, precision="fp32")) < 0.8 * usual
    assert seconds(run=run_of(photos, soundness=False)) < 0.95 * usual
    assert seconds(run=run_of(photos, timing="thorough")) > usual + 300


def test_a_build_of_this_cache_tells_more_than_one_of_another_machine(photos, tmp_path):
    store = Store(tmp_path / "cache")
    run = run_of(photos, store, fit="probe")
    first = cost.estimate(run)
    assert re.fullmatch(r"about \d+( to \d+)? (s|min)", first)
    took = {"cpu_seconds": 1.0, "peak_memory_mib": 99.0, "found": False}
    rows = [{"stage": name, "seconds": 500.0, **took} for name in ("features", "rung")]
    cost.remember(run, {"seconds": 1010.0, "cpu_seconds": 2.0, "stages": rows})
    assert cost.estimate(run) == "about 10 to 30 min, less what is kept of an earlier build"
    assert cost.estimate(run_of(photos, store, fit="probe", seed=1)) == "about 10 to 30 min"
    assert cost.estimate(run_of(photos, store, fit="finetune")).endswith(
        ", and what fine-tuning takes"
    )
    for odd in ("{}", '{"builds": [{"stages": [1]}]}', '{"builds": 3}', "\\x00"):
        (store.root / "builds.json").write_text(odd)
        assert cost.estimate(run) == first
    (store.root / "builds.json").unlink()
    (store.root / "builds.json").mkdir()  # where nothing can be written
    cost.remember(run, {"seconds": 1.0, "cpu_seconds": 1.0, "stages": rows})
    assert cost.estimate(run) == first


def test_without_data_that_can_be_counted_nothing_is_estimated(tmp_path, monkeypatch):
    """Nor where no build of the kind was measured: pictures said an hour of minutes of texts."""
    (tmp_path / "t.csv").write_text("text,label\n" + "a text,a\n" * 400)
    images = {name: each for name, each in MEASURED.items() if each["kind"] == "image"}
    (tmp_path / "stages.json").write_text(json.dumps(images))
    monkeypatch.setattr(cost, "shipped", lambda _: tmp_path / "stages.json")
    assert cost.estimate(run_of(tmp_path / "t.csv")) == ""
    assert cost.estimate(run_of("photos")) == ""
    (tmp_path / "empty").mkdir()
    assert cost.estimate(run_of(tmp_path / "empty")) == ""


def test_pictures_are_counted_by_their_names(tmp_path):
    for name in ("a/1.png", "a/2.JPG", "b/3.webp", "b/notes.txt", "b/._4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert cost.examples_in(str(tmp_path)) == ("image", 3)
    (tmp_path / "t.csv").write_text("file,label\n1.png,a\n")
    assert cost.examples_in(str(tmp_path / "t.csv")) == ("image", 1)
    (tmp_path / "u.csv").write_text("profile,label\na text,a\n")
    assert cost.examples_in(str(tmp_path / "u.csv")) == ("text", 1)


def test_energy_is_told_where_a_counter_can_be_read_though_it_starts_again(monkeypatch, tmp_path):
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("100000000\n")

    def reads(microjoules):
        (zone / "energy_uj").write_text(f"{microjoules}\n")

    reads(90_000_000)
    system = System(find=lambda pattern: [str(zone)] if "powercap" in pattern else [])
    found = stages.find_source(system)
    monkeypatch.setattr(stages, "_meter", lambda: found.joules)
    spending = cost.Spending()
    reads(10_000_000)
    visit = SimpleNamespace(stage="data", result=SimpleNamespace(reused=True, cost=Cost(1, 2, 3)))
    told = spending.written([(visit.stage, visit.result)])
    assert told["energy_j"] == 20.0
    assert told["stages"] == [
        {"stage": "data", "found": True, "seconds": 1, "cpu_seconds": 2, "peak_memory_mib": 3}
    ]
    monkeypatch.setattr(stages, "_meter", lambda: None)
    assert "energy_j" not in cost.Spending().written([])


def test_an_emulated_bench_is_estimated_by_two_that_were_measured():
    measured = json.loads(shipped(cost.EMULATED).read_text())
    for where, record in measured.items():
        took = {int(number): seconds for number, seconds in record["seconds"].items()}
        for number, seconds in took.items():
            found = cost.emulated_seconds(record, record["macs"], number)
            assert found == pytest.approx(seconds)
        (few, short), (more, long) = took.items()
        each = (long - short) / (more - few)
        most = cost.emulated_seconds(record, record["macs"], 1000)
        assert most - long == pytest.approx((32 - more + 968 / 3) * each)  # 32 are repeated
        assert cost.emulated_seconds(record, 2 * record["macs"], 1000) > 1.5 * most
        least = re.match(r"about (\d+)", cost.emulated(where, record["macs"], few))
        assert 0.5 * short < int(least[1]) * (60 if int(least[1]) < 10 else 1) < 1.1 * short
    slowest = cost.emulated("qemu:none", next(iter(measured.values()))["macs"], 4)
    assert slowest.startswith("about ")
