"""Which rules a run broke, by what its processes told."""

import pytest

from edgetransfer.measure.speed.validity import block, violations, warnings


def turn(name, number, *marks):
    return {"name": name, "block": number, "marks": list(marks)}


def process(**fields):
    calm = [turn(name, number) for number in range(4) for name in ("reference", "candidate")]
    told = {
        "warmed_up": {"reference": True, "candidate": True},
        "load_ms": {"reference": 3.25, "candidate": 1.5},
        "first_inference_ms": {"reference": 2.0, "candidate": 1.0},
        "outputs": {"reference": ["a", "a"], "candidate": ["b", "b"]},
        "floor_ns": 5000.0,
        "probe": {"baseline_ns": 50_000.0, "held_against_ns": 50_000.0, "rel_iqr": 0.02},
        "turns": calm,
        "waited_s": 0.0,
        "stolen_pct": 0.5,
    }
    return {**told, **fields}


def record(*processes, **fields):
    judged = {"reference": "a", "candidate": "b"}
    return {"processes": list(processes), "lacking": {}, "judged_outputs": judged, **fields}


def test_a_run_by_the_rules_is_valid():
    run = record(process(), process())
    assert (violations(run), warnings(run)) == ((), ())


def test_what_a_browser_does_not_tell_is_not_held_against_it():
    run = record(*[process(stolen_pct=None, outputs={})] * 2)
    assert (violations(run), warnings(run)) == ((), ())


def test_one_process_is_not_enough():
    assert violations(record(process())) == ("times of 1 process, not of 2 at least",)


@pytest.mark.parametrize(
    ("cold", "broken", "noted"),
    [
        (0, (), ()),
        (1, (), ("candidate did not settle in the warm-up of 1 of 3 processes",)),
        (2, ("candidate did not settle in the warm-up of most processes",), ()),
    ],
)
def test_a_variant_that_does_not_settle(cold, broken, noted):
    states = [{"reference": True, "candidate": number >= cold} for number in range(3)]
    run = record(*(process(warmed_up=each) for each in states))
    assert (violations(run), warnings(run)) == (broken, noted)


@pytest.mark.parametrize(("disturbed", "valid"), [(4, True), (5, False)])
def test_more_than_a_quarter_of_the_turns_disturbed(disturbed, valid):
    slowed = [turn("candidate", n, "probe", "frequency") for n in range(disturbed)]
    calm = [turn("candidate", n) for n in range(disturbed, 8)]
    run = record(process(turns=slowed + calm), process())
    told = "the machine was slower in 5 of 16 turns (frequency and probe)"
    assert violations(run) == (() if valid else (told,))
    series = block({"core": run}, {"reference": 1.0, "candidate": 1.0})["series"]["core"]
    assert (series["turns"], series["disturbed_turns"]) == (16, disturbed)
    assert series["disturbed_by"] == {"frequency": disturbed, "probe": disturbed}


@pytest.mark.parametrize(("again", "valid"), [((), True), (("probe",), False)])
def test_a_disturbed_turn_that_was_taken_again_is_judged_by_its_second_try(again, valid):
    tries = [
        each
        for n in range(4)
        for name in ("reference", "candidate")
        for each in (turn(name, 4 + n, "probe"), turn(name, n, *again))
    ]
    run = record(process(turns=tries), process())
    told = "the machine was slower in 8 of 16 turns (probe)"
    assert violations(run) == (() if valid else (told,))
    series = block({"core": run}, {"reference": 1.0, "candidate": 1.0})["series"]["core"]
    assert (series["turns"], series["disturbed_turns"]) == (24, 8 if valid else 16)


@pytest.mark.parametrize(
    "outputs",
    [
        {"reference": ["a", "a"], "candidate": ["b", "c"]},
        {"reference": ["a", "a"], "candidate": ["c", "c"]},
    ],
    ids=["after", "from the start"],
)
def test_a_timed_session_with_other_outputs(outputs):
    told = ("the timed session of candidate does not give the judged outputs",)
    assert violations(record(process(), process(outputs=outputs))) == told
    both = record(process(outputs=outputs), process(outputs=outputs))
    assert violations(both) == told


def test_a_variant_that_was_not_judged_is_held_against_itself():
    other = {"reference": ["z", "z"], "candidate": ["b", "b"]}
    run = record(process(outputs=other), process(outputs=other), judged_outputs={"candidate": "b"})
    assert violations(run) == ()
    run = record(process(outputs=other), process(), judged_outputs={"candidate": "b"})
    assert violations(run) == ("the timed session of reference does not give the judged outputs",)


def test_what_is_not_known_well_enough_is_a_warning():
    lacking = {"candidate": ["median within 3.1 %, not 2 %", "60 samples of 64"]}
    run = record(process(), process(stolen_pct=7.4), lacking=lacking)
    assert warnings(run) == (
        "candidate: median within 3.1 %, not 2 %; 60 samples of 64 after 2 processes",
        "a hypervisor took up to 7 % of the cores' busy time",
    )
    assert violations(run) == ()


def test_the_block_of_the_report():
    run = record(process(floor_ns=5200.0), process(waited_s=1.5))
    found = block({"core": run}, {"reference": 4.0, "candidate": 0.02})
    assert found == {
        "valid": True,
        "violations": [],
        "warnings": ["candidate: a model that does nothing takes 5.0 us, 25 % of the median"],
        "not_warmed_up": [],
        "series": {
            "core": {
                "processes": 2,
                "turns": 16,
                "disturbed_turns": 0,
                "disturbed_by": {},
                "waited_s": 1.5,
                "lacking": {},
                "floor_us": 5.0,
                "probe_us": [50.0, 50.0],
                "probe_rel_iqr": 0.02,
                "load_ms": {"reference": [3.25, 3.25], "candidate": [1.5, 1.5]},
                "first_inference_ms": {"reference": [2.0, 2.0], "candidate": [1.0, 1.0]},
            }
        },
    }


def test_a_time_that_is_mostly_the_runtimes_own_breaks_a_rule():
    run = record(process(), process())
    found = block({"core": run}, {"reference": 0.1, "candidate": 0.0099})
    assert found["warnings"] == []
    assert found["violations"] == [
        "candidate: a model that does nothing takes 5.0 us, 51 % of the median"
    ]


def test_nothing_timed_breaks_no_rule():
    assert block({}, {}) == {
        "valid": True,
        "violations": [],
        "warnings": [],
        "not_warmed_up": [],
        "series": {},
    }
