"""Times variants side by side and checks what they give; runs one for minutes without a rest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from edgetransfer.agent import conditions, energy, timing
from edgetransfer.agent.examples import ExampleFiles
from edgetransfer.agent.outputs import Outputs

Call = Callable[[], object]
Tell = Callable[[int, int], None]
WARM_S = 0.3
_TOLD = ("frequency_khz", "temperatures_c", "throttling", "load_average")


class Senses(NamedTuple):
    """Where the machine is looked at, so that a test can bring its own.

    Attributes:
        kernel_ns: times the fixed kernel, see `timing.Kernel`.
        snapshot: tells what of the machine changes.
        clock: of the machine.
    """

    kernel_ns: Callable[[], int]
    snapshot: Callable[[], Mapping[str, object]] = conditions.snapshot
    clock: timing.Clock = timing.REAL_CLOCK


def sustain(
    call: Call, seconds: float, window_s: float, tell: Tell, senses: Optional[Senses] = None
) -> List[Dict[str, Any]]:
    """Return one row a window: when it began, the median, and what the machine told after it.

    A row also says who used the cores meanwhile: this process for `own_s` of `elapsed_s`, and all
    that ran for `busy_s` of `cores_s`, where the system tells. `tell` hears the seconds done.
    """
    fixed, snapshot, clock = senses or Senses(timing.Kernel())
    start = clock.wall_ns()
    rows: List[Dict[str, Any]] = []
    since = start, clock.cpu_ns(), snapshot().get("ticks")
    while True:
        began = clock.wall_ns()
        if began - start >= seconds * 1e9:
            return rows
        taken: List[Tuple[int, int]] = []
        while clock.wall_ns() - began < window_s * 1e9 or not taken:
            taken.append(timing.timed(call, clock))
        wall, cpu = np.array(taken, dtype=np.float64).T
        told = snapshot()
        now = clock.wall_ns(), clock.cpu_ns(), told.get("ticks")
        rows.append(
            {
                "at_s": round((began - start) / 1e9, 3),
                "n": len(taken),
                "p50_ms": float(np.median(wall)) / 1e6,
                "p90_ms": float(np.quantile(wall, 0.9, method="inverted_cdf")) / 1e6,
                "cpu_p50_ms": float(np.median(cpu)) / 1e6,
                "probe_ns": fixed(),
                **{key: told[key] for key in _TOLD},
                "elapsed_s": (now[0] - since[0]) / 1e9,
                "own_s": (now[1] - since[1]) / 1e9,
                **conditions.core_seconds(since[2], now[2]),
            }
        )
        since = now
        tell(int((clock.wall_ns() - start) / 1e9), int(seconds))


CYCLED = 16
"""Real examples that a timing cycles through."""
CHECKED = 4
"""First examples whose outputs are told before and after the timing."""
Open = Callable[[Mapping[str, Any]], Any]


class OpenedVariant(NamedTuple):
    """One variant, loaded."""

    session: Any
    examples: ExampleFiles
    load_ms: float
    first_inference_ms: float

    def cycle(self) -> Call:
        """Return a call that runs one of some examples after the other."""
        return timing.cycled(self.session.run, self.examples.some(CYCLED))

    def digest(self) -> str:
        """Return the digest of what the first few examples give, see `Outputs.digest`."""
        few = range(min(CHECKED, len(self.examples)))
        given = [self.session.run(self.examples[i]) for i in few]
        return Outputs.of(self.session.output_names, given).digest()


def open_variant(variant: Mapping[str, Any], open_session: Open) -> OpenedVariant:
    """Load a variant and run its first example."""
    examples = ExampleFiles(variant["inputs"])
    example = examples[0]
    start = time.perf_counter_ns()
    session = open_session(variant)
    loaded = time.perf_counter_ns()
    session.run(example)
    first = time.perf_counter_ns()
    load_ms = (loaded - start) / 1e6 - session.built_ms
    return OpenedVariant(session, examples, load_ms, (first - loaded) / 1e6)


def time_variants(job: Mapping[str, Any], open_session: Open, _: Tell) -> Dict[str, object]:
    """Time the variants of a job, write their samples, and return what else was seen."""
    plan, asked = timing.TimingPlan(**job["plan"]), job["guard"]
    before = conditions.snapshot()
    kernel = timing.Kernel()
    own = timing.baseline(kernel)
    usual = min(own.ns, asked["baseline_ns"] or own.ns)  # or an earlier process's
    guard = conditions.ThrottleWatch(conditions.Sensors(kernel), usual, asked["cooldown_s"])
    opened = {each["name"]: open_variant(each, open_session) for each in job["variants"]}
    outputs = {name: [each.digest()] for name, each in opened.items()}
    calls = {name: each.cycle() for name, each in opened.items()}
    converged = {name: timing.warm_up(call, plan) for name, call in calls.items()}
    null = {**job["variants"][0], "model": timing.NULL_MODEL, "threads": 1, "config": {}}
    lowest_ns = timing.floor_ns(open_session(null).run)
    measured = timing.measure(calls, plan, job["seed"], guard=guard)
    for name, samples in measured.samples.items():
        np.save(Path(job["out"]) / (name + ".npy"), samples)
    for name, each in opened.items():
        outputs[name].append(each.digest())
    after = conditions.snapshot()
    return {
        "warmed_up": converged,
        "load_ms": {name: each.load_ms for name, each in opened.items()},
        "first_inference_ms": {name: each.first_inference_ms for name, each in opened.items()},
        "outputs": outputs,
        "floor_ns": lowest_ns,
        "probe": {"baseline_ns": own.ns, "held_against_ns": usual, "rel_iqr": own.rel_iqr},
        "turns": [{"turn": number, **turn} for number, turn in enumerate(measured.turns)],
        "waited_s": guard.waited_s,
        "stolen_pct": conditions.stolen_pct(before["ticks"], after["ticks"]),
        "conditions": {"before": before, "after": after},
    }


def _warm_cycle(variant: Mapping[str, Any], open_session: Open) -> Call:
    """Open a variant and run it a little: the first window is of a warm session, a cool machine."""
    call = open_variant(variant, open_session).cycle()
    end = time.monotonic() + WARM_S
    while time.monotonic() < end:
        call()
    return call


def sustain_variant(job: Mapping[str, Any], open_session: Open, tell: Tell) -> Dict[str, object]:
    """Run the one variant of a job for minutes; return a row a window."""
    (variant,) = job["variants"]
    call = _warm_cycle(variant, open_session)
    asked = job["sustained"]
    return {"series": sustain(call, asked["seconds"], asked["window_s"], tell)}


def measure_energy(job: Mapping[str, Any], open_session: Open, _: Tell) -> Dict[str, object]:
    """Measure the energy of an inference of each variant of a job, one after the other."""
    source = energy.find_source()
    told = {}
    for variant in job["variants"]:
        call = _warm_cycle(variant, open_session)
        before = conditions.ticks(), time.process_time()
        found = energy.measure(call, source, job["sustained"]["seconds"])
        own_s = time.process_time() - before[1]
        used = conditions.core_seconds(before[0], conditions.ticks())
        told[variant["name"]] = {**found, "own_s": own_s, **used}
    return {"energy": told}


ACTIONS = {"time": time_variants, "sustain": sustain_variant, "energy": measure_energy}
