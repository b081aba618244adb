"""The ladder: cheap rungs first, dearer ones while the budget does not hold, all in the report."""

import shutil
import sys
from dataclasses import replace

import pytest
import torch

import edgetransfer
from edgetransfer.bundle.files import read_json
from edgetransfer.cli import app
from edgetransfer.compress import training
from edgetransfer.compress.posttraining import quantise
from edgetransfer.errors import NumericalError
from edgetransfer.graph import prepare
from edgetransfer.measure.trial import Trial
from edgetransfer.pipeline.ladder import ladder, rungs, trial
from edgetransfer.pipeline.ladder.ladder import Ladder
from edgetransfer.pipeline.ladder.trial import Trials
from edgetransfer.pipeline.ship import assemble
from edgetransfer.report.sections.ladder import told

CHEAP = ["post-training, channels equalised", "post-training"]
FLOATS = [f"{count} more layer{'s' * (count > 1)} in float" for count in ladder.FLOAT_LAYERS]
ALL = [*CHEAP, "learned rounding", *FLOATS, "quantisation-aware training", "32-bit floats"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Train for two steps."""
    for name in ("ROUNDING", "QAT"):
        monkeypatch.setattr(training, name, replace(getattr(training, name), steps=2))


@pytest.fixture(scope="module")
def untouched(built, cache, tmp_path_factory):
    """The stages of a build, without any that compressed or measured."""
    copy = tmp_path_factory.mktemp("ladder") / "untouched"
    return shutil.copytree(
        cache, copy, ignore=shutil.ignore_patterns("rung", "trial", "measure", ".partial*")
    )


@pytest.fixture(scope="module")
def stages(untouched, tmp_path_factory):
    """The same, to be filled by these tests."""
    return shutil.copytree(untouched, tmp_path_factory.mktemp("ladder") / "stages")


@pytest.fixture
def fresh(untouched, tmp_path):
    return shutil.copytree(untouched, tmp_path / "cache")


@pytest.fixture
def climb(pictures, stages, tmp_path):
    """Build with options; return the report."""

    def one(cache=stages, **options):
        options = {"precision": "auto", "timing": "quick", **options}
        outcome = edgetransfer.build(pictures, out=tmp_path / "out", cache=cache, **options)
        return outcome.reports["this-machine"]

    return one


def shipped(report):
    (row,) = (row for row in report["ladder"] if row["shipped"])
    return row


def names(report):
    return [row["rung"] for row in report["ladder"]]


@pytest.fixture
def no_margin(monkeypatch):
    """Let no rung hold with a margin, whatever this machine's sums come to."""
    monkeypatch.setattr(Trial, "has_margin", lambda *_: False)


def test_what_holds_with_a_margin_ends_the_ladder(climb, monkeypatch):
    monkeypatch.setattr(Trial, "has_margin", lambda *_: True)
    assert names(climb(max_drop=30)) == CHEAP[:1]


def test_what_the_report_says_of_a_rung(climb, no_margin):
    report = climb(max_drop=30)
    assert names(report) == CHEAP
    for row in report["ladder"]:
        assert (row["precision"], row["status"], row["why"]) == (
            "w8a8", "holds", "within the budget",
        )  # fmt: skip
        assert row["examples"] == 18
        assert row["seconds"] > 0
        assert 100_000 < row["bytes"] < 1_000_000
        assert row["sqnr_db"] > 15
        assert (row["p90_ms"], row["cpu_ratio"]) == (1.5, 1.3)
        low, high = row["accuracy_ci95"]
        assert low < row["accuracy"] <= high
        assert row["flips"] <= 2
    assert shipped(report)["bytes"] == report["size"]["candidate_bytes"]
    assert report["precision"] == "w8a8"


def test_a_rung_is_timed_beside_the_floats(climb, fresh, untimed, monkeypatch):
    monkeypatch.setattr(Trials, "_time", untimed)
    for row in climb(cache=fresh, max_drop=30)["ladder"]:
        if "not_timed" not in row:
            assert 0.01 < row["p90_ms"] < 1000
            assert row["precision"] == "fp32" or 0.05 < row["cpu_ratio"] < 20


def test_a_rung_is_tried_on_so_many_examples_at_most(climb, monkeypatch):
    monkeypatch.setattr(trial, "MOST_TRIED", 9)
    assert {row["examples"] for row in climb(max_drop=30)["ladder"]} == {9}


def test_no_rung_holds_an_impossible_size(climb):
    report = climb(max_size_mib=0.0001)
    assert names(report) == ALL
    sizes = [row["bytes"] / 2**20 for row in report["ladder"]]
    assert [row["why"] for row in report["ladder"]] == [
        f"{size:.2f} MiB of 0.0001 allowed" for size in sizes
    ]
    assert {row["status"] for row in report["ladder"]} == {"misses"}
    assert shipped(report)["bytes"] == min(row["bytes"] for row in report["ladder"])
    floats = [row.get("float_layers", []) for row in report["ladder"]]
    assert [len(each) for each in floats] == [1, 1, 1, 2, 3, 5, 9, 1, 0]
    assert set(floats[3]) < set(floats[4]) < set(floats[5]) < set(floats[6])
    trained = [row for row in report["ladder"] if "steps" in row]
    assert [(row["rung"], row["steps"]) for row in trained] == [
        ("learned rounding", 2),
        ("quantisation-aware training", 2),
    ]
    assert report["verdict"] == "FAIL"
    assert f"size: {sizes[0]:.2f} MiB of 0.0001 MiB allowed" in report["reasons"]


def test_layers_left_in_float_make_no_noise_of_their_own(climb):
    report = climb(max_size_mib=0.0001)
    noise = {row["rung"]: row["sqnr_db"] for row in report["ladder"] if "sqnr_db" in row}
    assert noise["8 more layers in float"] > noise["1 more layer in float"] - 0.5


def test_floats_are_shipped_where_no_integers_are_good_enough(climb):
    report = climb(min_sqnr=200)
    assert names(report) == ALL
    row = shipped(report)
    assert (row["rung"], row["precision"], row["status"]) == ("32-bit floats", "fp32", "holds")
    missed = report["ladder"][0]
    assert missed["why"] == f"{missed['sqnr_db']:.1f} dB of 200 demanded"
    assert report["precision"] == "fp32"


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edgetransfer", *map(str, words)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stopped:
            app.main()
        return stopped.value.code, capsys.readouterr().out

    return run


def test_w8a8_keeps_to_integers_and_fails_with_the_best_of_them(
    pictures, stages, command, tmp_path
):
    asked = ["--precision", "w8a8", "--min-sqnr", 200, "--timing", "quick", "--out", tmp_path / "o"]
    code, told = command("build", pictures, "--cache", stages, *asked)
    assert code == 8
    report = read_json(tmp_path / "o" / "this-machine" / "report.json")
    assert names(report) == CHEAP
    assert {row["precision"] for row in report["ladder"]} == {"w8a8"}
    assert {row["status"] for row in report["ladder"]} == {"misses"}
    assert shipped(report)["sqnr_db"] == max(row["sqnr_db"] for row in report["ladder"])
    assert report["verdict"] == "FAIL"
    reason = f"sqnr: {report['numeric']['sqnr_db']:.1f} dB, at least 200.0 dB demanded"
    assert reason in report["reasons"]
    assert f"shipped: {shipped(report)['rung']}, the best of 2 tried" in told


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_asked_precision_is_the_only_rung(climb, precision):
    report = climb(precision=precision)
    assert [row["precision"] for row in report["ladder"]] == [precision]
    assert shipped(report) is report["ladder"][0]


def test_floats_are_shipped_where_integers_are_slower(climb, stages, tmp_path, monkeypatch):
    untried = shutil.ignore_patterns("trial", "measure")
    untimed = shutil.copytree(stages, tmp_path / "untimed", ignore=untried)
    slower = {"p90_ms": 1.5, "cpu_ratio": 0.8, "faster": False}
    monkeypatch.setattr(Trials, "_time", lambda *_: dict(slower))
    report = climb(cache=untimed, max_drop=30)
    assert names(report) == [*names(report)[:-1], "32-bit floats"]
    assert {row["slower"] for row in report["ladder"][:-1]} == {True}
    assert {row["status"] for row in report["ladder"]} == {"holds"}
    assert shipped(report)["rung"] == "32-bit floats"


class Stages:
    def __init__(self):
        self.ended = []

    def begin(self, stage):
        return lambda done, total: None

    def end(self, stage, summary, *, reused):
        if stage.split()[0] in ("compress", "try", "sensitivity"):
            self.ended.append((stage.split()[0], summary.split(":")[0], reused))


@pytest.fixture
def decoded(monkeypatch, pictures):
    """Which splits the pictures came from that were decoded for the network."""
    found = []
    decode = prepare.decode

    def watched(path):
        found.append(path.relative_to(pictures).parts[0])
        return decode(path)

    monkeypatch.setattr(prepare, "decode", watched)
    return found


def test_an_interrupted_ladder_goes_on_at_its_rung(climb, fresh, decoded, monkeypatch):
    """All that time no example of the test set is looked at."""
    monkeypatch.setattr(ladder, "FLOAT_LAYERS", (1,))
    monkeypatch.setattr(assemble, "assemble", interrupted)
    asked = {"cache": fresh, "max_size_mib": 0.0001}
    train = training.train
    monkeypatch.setattr(
        training, "train", lambda *a, **o: (interrupted if a[4] == training.QAT else train)(*a, **o)
    )
    with pytest.raises(KeyboardInterrupt):
        climb(**asked)
    assert list(fresh.glob("*/.partial*")) == []
    monkeypatch.setattr(training, "train", train)
    stages, again = Stages(), Stages()
    for each in (stages, again):
        with pytest.raises(KeyboardInterrupt):  # where the bundle would be written
            climb(**asked, reporter=each)
    rungs = [*CHEAP, "learned rounding", "1 more layer in float", *ALL[-2:]]
    made = [(name, reused) for kind, name, reused in stages.ended if kind == "compress"]
    assert made == [(name, name not in ALL[-2:]) for name in rungs]
    tried = [reused for kind, _, reused in stages.ended if kind == "try"]
    assert tried == [True] * 4 + [False] * 2
    assert ("sensitivity", True) in {(kind, reused) for kind, _, reused in stages.ended}
    assert all(reused for _, _, reused in again.ended)
    assert set(decoded) == {"train", "val"}


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_noisy_layers_are_named_where_some_layers_are_in_float(climb, monkeypatch):
    hold = Ladder.hold

    def only_with_floats(self, made):
        result = hold(self, made)
        status = "holds" if "more" in result.row["rung"] else "misses"
        return replace(result, trial=replace(result.trial, status=status))

    monkeypatch.setattr(Ladder, "hold", only_with_floats)
    monkeypatch.setattr(ladder, "QUIET_DB", 1000)
    row = shipped(climb())
    assert row["rung"] == "1 more layer in float"
    assert row["noisiest_layers"]
    assert row["float_layers"][0] not in row["noisiest_layers"]


def test_a_rung_that_fails_numerically_is_left_out_d2(climb, fresh, monkeypatch):
    def fail(*_, equalised, **__):
        if equalised:
            raise torch.linalg.LinAlgError("not positive definite\nand more")
        return quantise(*_, equalised=False, **__)

    monkeypatch.setattr(rungs, "quantise", fail)
    report = climb(fresh, max_drop=30)
    assert names(report) == CHEAP
    assert report["ladder"][0] == {
        "rung": CHEAP[0],
        "precision": "w8a8",
        "status": "left out",
        "why": "not positive definite",
        "shipped": False,
    }
    assert shipped(report)["rung"] == CHEAP[1]
    assert f"left out: {CHEAP[0]}: not positive definite" in list(told(report["ladder"]))


def test_where_all_integers_fail_floats_are_shipped_or_the_cause_is_told_d2(
    climb, fresh, monkeypatch
):
    def fail(*_, **__):
        raise NumericalError("nothing to quantise", where="quantise")

    monkeypatch.setattr(rungs, "quantise", fail)
    report = climb(fresh)
    assert names(report) == [*CHEAP, "32-bit floats"]
    assert shipped(report)["precision"] == "fp32"
    with pytest.raises(NumericalError, match=r"^quantise: nothing to quantise$"):
        climb(fresh, precision="w8a8")


def test_a_runtime_that_refuses_a_candidate_leaves_it_out_d2(climb, fresh, monkeypatch):
    def broken(*given, equalised, **more):
        found = quantise(*given, equalised=equalised, **more)
        return Unreadable(found) if equalised else found

    monkeypatch.setattr(rungs, "quantise", broken)
    report = climb(fresh, max_drop=30)
    statuses = [row["status"] for row in report["ladder"]]
    assert statuses[0] == "left out"
    assert shipped(report)["rung"] == CHEAP[1]
    assert report["ladder"][0]["why"].startswith("[ONNXRuntimeError]")


class Unreadable:
    """Integers whose graph names an operator that no runtime has."""

    def __init__(self, found):
        self._found = found
        self.model, self.float_layers = found.model, ()

    def graph(self):
        made = self._found.graph()
        made.graph.node[0].op_type = "NoSuchOperator"
        made.graph.node[0].domain = "com.microsoft"
        made.opset_import.add(domain="com.microsoft", version=1)
        return made
