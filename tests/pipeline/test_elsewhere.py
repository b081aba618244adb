"""Measuring a bundle on another device: a stand-in that runs the agent here and tampers with it."""

import json
import re
import types
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from edgetransfer.pipeline.bench.measure import oracle
from edgetransfer.pipeline.build import Verification
from edgetransfer.spec import catalogue
from edgetransfer.spec.target import SessionOptions
from edgetransfer.transport import place as transports
from edgetransfer.transport.local import Local

SETTING = "session.set_denormal_as_zero"
"""Harmless; no class of machines has it, so no build brings it."""
OLD = {"arch": "x86_64", "isa": ["avx2"]}


@dataclass(frozen=True)
class Elsewhere(transports.Place):
    """A device whose kernels are wrong unless a session has a setting."""

    agent: object
    where: str
    environment: dict
    wrong_without: str | None = None
    emulated: bool = True
    actions: frozenset = frozenset({"outputs", "describe"})

    def do(self, job, out, progress):
        raise AssertionError("`run` does it")

    def run(self, job, out, *, progress=lambda *_: None):
        assert job.action in self.actions
        result = dict(Local(self.agent).run(job, out, progress=progress))
        if job.action == "describe":
            result["environment"] |= self.environment
        elif self._is_wrong(job.variants[0]):
            rows = np.load(out / "output-0.npy")
            np.save(out / "output-0.npy", rows[:, ::-1] * 3)
        return result

    def _is_wrong(self, variant):
        fails = self.wrong_without is not None and self.wrong_without not in variant.config
        return fails and "reference" not in variant.model


@pytest.fixture
def elsewhere(monkeypatch):
    """Let ``fake:`` be a place with the given properties."""

    def use(**properties):
        @contextmanager
        def connect(address, agent):
            yield Elsewhere(agent, f"fake:{address}", **properties)

        module = types.SimpleNamespace(connect=connect)
        monkeypatch.setitem(transports.TRANSPORTS, "fake", "fake")
        real = transports.importlib.import_module
        monkeypatch.setattr(
            transports.importlib,
            "import_module",
            lambda name: module if name.endswith(".fake") else real(name),
        )

    return use


@pytest.fixture
def remedy(monkeypatch):
    """Let the class of the device be one that needs `SETTING`; this machine needs nothing."""
    session = SessionOptions(config={SETTING: "1"}, why="its kernels are wrong")
    old = catalogue.target("x86-avx2").model_copy(update={"session": session})

    def class_of(arch, flags):
        return old if flags == frozenset(OLD["isa"]) else None

    monkeypatch.setattr(catalogue, "class_of", class_of)


@pytest.fixture
def bundle(built):
    return built.folders["this-machine"]


def measure(command, bundle, pictures, tmp_path, *words):
    out = tmp_path / "there"
    code, shown, _ = command(
        "bench", bundle, "--data", pictures, "--on", "fake:a", "--out", out, *words
    )
    return code, shown, json.loads((out / "fake-a" / "report.json").read_text())


def test_a_device_that_agrees_is_judged_but_not_timed(
    command, elsewhere, bundle, pictures, tmp_path
):
    elsewhere(environment=OLD)
    _, shown, report = measure(command, bundle, pictures, tmp_path)
    agreement = report["host_agreement"]
    assert (agreement["bit_equal"], agreement["n"], agreement["flips"]) == (True, 60, 0)
    assert report["latency"]["candidate"]["p50_ms"] is None
    assert report["residency"]["float_conv"] is None
    (gate,) = [gate for gate in report["gates"] if gate["name"] == "preview"]
    assert (report["verdict"], gate["status"], gate["decides"]) == ("UNVERIFIED", "PASS", False)
    assert report["validity"]["measured_on_target"] is False
    assert report["reasons"][0].endswith(": a preview")
    assert "the same bits on" in shown


def test_a_device_that_is_wrong_fails_with_cause_and_cure(
    command, elsewhere, remedy, bundle, pictures, tmp_path
):
    elsewhere(environment=OLD, wrong_without=SETTING)
    code, _, report = measure(command, bundle, pictures, tmp_path)
    assert (code, report["verdict"]) == (8, "FAIL")
    (reason,) = [each for each in report["reasons"] if each.startswith("preview: ")]
    assert reason.startswith(
        "preview: the same file computes other numbers there: against the floats "
    )
    assert reason.endswith(
        "cause: its kernels are wrong; with session.set_denormal_as_zero=1 they are bit-equal: "
        "build with --target x86-avx2"
    )


def test_where_the_same_bits_were_seen_is_kept_beside_the_bundle(
    command, elsewhere, bundle, pictures, tmp_path
):
    elsewhere(environment=OLD)
    measure(command, bundle, pictures, tmp_path)
    elsewhere(environment={"arch": "arm64", "isa": ["asimd"]}, wrong_without=SETTING)
    measure(command, bundle, pictures, tmp_path)
    elsewhere(environment={"arch": "wasm32", "isa": []})
    _, shown, report = measure(command, bundle, pictures, tmp_path)
    kinds = json.loads((bundle / "portability.json").read_text())["kinds"]
    assert {kind: row["bit_equal"] for kind, row in kinds.items() if "x86" not in kind} == {
        "arm64": False,
        "wasm32": True,
    }
    assert kinds["x86_64 without VNNI"]["bit_equal"]
    assert not report["portability"]["portable_exact"]
    elsewhere(environment={"arch": "arm64", "isa": ["asimd"]})
    _, shown, report = measure(command, bundle, pictures, tmp_path)
    exact = "x86_64 with VNNI" in kinds  # the build host has to be one of them
    assert report["portability"]["portable_exact"] is exact
    assert ("portable-exact: the same bits on" in shown) is exact


def test_several_places_end_on_the_worst_verdict(command, elsewhere, bundle, pictures, tmp_path):
    elsewhere(environment=OLD, wrong_without=SETTING)
    options = ("--data", pictures, "--out", tmp_path / "both", "--json")
    code, shown, _ = command("bench", bundle, *options, "--on", "local", "--on", "fake:a")
    reports = json.loads(shown)["reports"]
    assert code == 8
    assert list(reports) == ["local", "fake:a"]
    assert "host_agreement" not in reports["local"]
    assert (tmp_path / "both" / "local" / "report.html").is_file()


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        (
            "moon:1",
            "--on: no such place to measure on\n  found: 'moon:1'\n  expected: "
            + ", ".join(transports.TRANSPORTS),
        ),
        ("local:2", "--on: this machine has no address\n  found: '2'"),
    ],
)
def test_a_place_that_is_none(command, bundle, place, complaint):
    code, _, told = command("bench", bundle, "--on", place)
    assert code == 3
    assert told.endswith(f"error: {complaint}\n")
    assert not (bundle / "bench").exists()


def test_a_host_that_cannot_be_reached_leaves_no_folder(command, bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # where no ssh is
    code, _, told = command("bench", bundle, "--on", "ssh:nowhere", "--out", tmp_path / "out")
    assert code != 0
    assert told.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_an_emulated_bench_says_how_long_and_takes_as_many_examples_as_are_asked_for(
    command, elsewhere, bundle, pictures, tmp_path
):
    elsewhere(environment=OLD)
    out = tmp_path / "there"
    code, shown, told = command(
        "bench", bundle, "--data", pictures, "--on", "fake:a", "--out", out, "--examples", 20
    )
    assert re.search(
        r"\n  time +0\.0 s  about \d+( to \d+)? (s|min) for 20 examples; "
        r"`bench --examples N` runs fewer\n",
        told,
    )
    note = "20 of 60 examples were drawn by label (--examples): all numbers are of these alone"
    assert note in " ".join(shown.split())
    report = json.loads((out / "fake-a" / "report.json").read_text())
    assert (report["examples"]["judged"], report["examples"]["capped"]) == (20, 40)
    assert report["accuracy"]["n"] == report["agreement"]["n"] == 20
    assert note in report["notes"]
    assert note in (out / "fake-a" / "report.html").read_text()
    support = [row["n"] for row in report["per_class"]]
    assert sum(support) == 20
    assert set(support) == {6, 7}
    accuracy = next(gate for gate in report["gates"] if gate["name"] == "accuracy")
    assert accuracy["status"] == "INCONCLUSIVE"  # 20 show no loss under 2 points, 60 neither
    _, _, again = measure(command, bundle, pictures, tmp_path, "--examples", 20)
    assert again["accuracy"] == report["accuracy"]
    code, _, told = command("bench", bundle, "--examples", 0)
    assert (code, told) == (
        3,
        "error: --examples 0: too few examples\n  expected: at least 1\n",
    )


def test_the_host_computes_as_arm_where_activations_are_signed(monkeypatch):
    module = "edgetransfer.pipeline.bench.measure.architecture"
    monkeypatch.setattr("edgetransfer.pipeline.bench.measure.exact_here", dict)
    monkeypatch.setattr(module, lambda: "x86_64")
    signed = {"session.qdqisint8allowed": "1"}
    assert oracle("s8", "arm64") == signed
    for activation, arch in (("s8", "x86_64"), ("s8", "wasm32"), ("u8", "arm64"), (None, "arm64")):
        assert oracle(activation, arch) == {}
    monkeypatch.setattr(module, lambda: "arm64")
    assert oracle("s8", "arm64") == {}


def test_what_is_kept_of_other_bits_is_forgotten(command, elsewhere, bundle, pictures, tmp_path):
    elsewhere(environment=OLD)
    measure(command, bundle, pictures, tmp_path)
    record = json.loads((bundle / "portability.json").read_text())
    record["core"] = "another network"
    record["kinds"]["riscv64"] = {"bit_equal": True}
    (bundle / "portability.json").write_text(json.dumps(record))
    _, _, report = measure(command, bundle, pictures, tmp_path)
    assert "riscv64" not in report["portability"]["kinds"]


def test_a_build_is_verified_on_another_place(
    command, elsewhere, pictures, cache, tmp_path, monkeypatch
):
    """Only what this machine cannot verify, and that place can; its lock is free by then."""
    elsewhere(environment={"arch": "arm64", "isa": ["asimd", "asimddp"], "os": "Linux"})
    targets = ("arm64-dotprod", "this-machine", "web-wasm")
    words = [word for target in targets for word in ("--target", target)]
    where = ("--cache", cache, "--timing", "quick", "--out", tmp_path / "out")
    code, out, _ = command("build", pictures, *words, *where, "--verify-on", "fake:a", "--json")
    reports = json.loads(out)["reports"]
    assert code == 0
    room = tmp_path / "out" / "arm64-dotprod" / "bench" / "fake-a"
    assert reports["arm64-dotprod"]["verdict"] == "INCONCLUSIVE"
    assert reports["arm64-dotprod"]["validity"]["standing"] == "numbers"
    note = f"arm64-dotprod was measured on fake:a: {room / 'report.html'}"
    assert note in reports["arm64-dotprod"]["notes"]
    assert reports["web-wasm"]["verdict"] == "UNVERIFIED"
    assert [each.parent.name for each in (tmp_path / "out").glob("*/bench")] == ["arm64-dotprod"]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["targets"]["arm64-dotprod"]["verdict"] == "INCONCLUSIVE"
    assert note in run["notes"]


def test_a_place_that_is_none_is_told_before_the_work(command, pictures, tmp_path):
    code, _, error = command("build", pictures, "--verify-on", "moon", "--out", tmp_path / "out")
    assert (code, error) == (
        3,
        "error: --on: no such place to measure on\n  found: 'moon'\n"
        "  expected: local, ssh, qemu, browser, adb\n",
    )
    assert not (tmp_path / "out").exists()


def test_a_place_is_looked_at_before_the_work(elsewhere):
    elsewhere(environment=OLD)
    met = Verification.at("fake:a")
    assert (met.where, met.emulated) == ("fake:a", True)
    assert {key: met.seen[key] for key in OLD} == OLD
