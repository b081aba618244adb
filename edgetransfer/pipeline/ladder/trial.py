"""Runs candidates over examples: here, timed if this is the target, or on an emulated processor."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.agent.environment import cpu_model, isa_flags
from edgetransfer.agent.outputs import Outputs
from edgetransfer.data.manifest import Example, content_of
from edgetransfer.data.split import drawn
from edgetransfer.errors import StageError, UnsupportedError, first_line
from edgetransfer.export.onnx_bundle import write_models
from edgetransfer.graph.hosted import exact_here, open_here
from edgetransfer.measure.drift import CLOSE_DB, measure_drift
from edgetransfer.measure.speed.latency import speedup, summarise
from edgetransfer.pipeline.bench.target_match import seen_here
from edgetransfer.pipeline.bench.times import (
    TIMED_INPUTS,
    TimedModels,
    input_files,
    take_times,
    variants_of,
)
from edgetransfer.pipeline.ladder.rungs import LITE
from edgetransfer.pipeline.ship.networks import networks
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.pipeline.stage.store import scratch
from edgetransfer.pipeline.task import task_of
from edgetransfer.transfer.features import BATCH, run_session
from edgetransfer.transport.job import LITERT, ONNX_ON_CPU
from edgetransfer.transport.local import Local
from edgetransfer.transport.place import connect

if TYPE_CHECKING:
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.measure.drift import Decision
    from edgetransfer.measure.speed.latency import Samples
    from edgetransfer.pipeline.ladder.rungs import RungResult, Workshop
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.target import TargetSpec
    from edgetransfer.transport.job import Variant

LOOKED_AT = 12
"""Examples that are compared first: an emulated network takes a second for one."""
OUTPUTS = "outputs.npz"
MOST_TRIED = 1000
"""Examples that a rung is tried on, and unlabelled ones: a loss where 1 of 100 decisions changes is
known to 0.6 points, and what is shipped is measured on all test examples."""
MOST_IN_OTHERS = 200
"""Of these, how many another runtime computes too: whether it computes the same shows on few."""
_STREAM = 0x7121


class Previewer:
    """Stands for a target that races schemes, where this machine may not (`here`)."""

    def __init__(
        self, target: TargetSpec, prepare: Preparer, decision: Decision, *, here: bool
    ) -> None:
        self._target = target
        self._decision = decision
        self._prepare = prepare
        self.on = target.preview.on if target.schemes and not here else ""

    def state(self) -> str:
        """Say what stands for the target, for the key of what is kept."""
        return self.on and f"{self.on}: {'prepared' if self.is_prepared() else 'not prepared'}"

    def is_prepared(self) -> bool:
        """Tell whether the processor can be used now."""
        try:
            with connect(self.on):
                return True
        except UnsupportedError:
            return False

    def numbers(
        self, graph: Path, examples: Sequence[Example], host: Outputs, room: Path
    ) -> tuple[Outputs, str]:
        """Return what the target would compute, and what computed it, in words.

        A few examples are computed there. Where they come out as on the build host, the host's
        outputs of all stand; where they do not, all are computed there.

        Of all examples `host` has the outputs as this machine computed them; `room` is empty.
        """
        if not self.is_prepared():
            return host, f"the build host: {self.on} is not prepared"
        few = self._run(graph, examples[:LOOKED_AT], room)
        expected = host.rows(slice(few.examples))
        told = f"on {few.examples} examples"
        if few.equals(expected):
            return host, f"{self.on}: bit-equal to the build host {told}"
        near = measure_drift(expected, few, self._decision)
        if near.non_finite == 0 and near.sqnr_db >= CLOSE_DB:
            return host, f"{self.on}: {near.sqnr_db:.0f} dB from the build host {told}"
        every = self._run(graph, examples, room)
        return every, f"{self.on}: not those of the build host"

    def _run(self, graph: Path, examples: Sequence[Example], room: Path) -> Outputs:
        folder = room / f"inputs-{len(examples)}"
        folder.mkdir()
        files = input_files(self._prepare, examples, folder)
        (variant,) = variants_of({"candidate": graph}, files, self._target, None)
        with connect(self.on) as place:
            return place.outputs(variant, folder)[0]


class Trials:
    """What is tried of the rungs of one target: all `examples`, the `labelled` first.

    It is timed where this machine may stand for the target.
    """

    def __init__(self, workshop: Workshop, *, here: bool) -> None:
        self._shop = workshop
        self._here = here
        fitted, recipe = workshop.fitted, workshop.run.recipe
        rules, every = task_of(recipe).labels, fitted.manifest.split("validation")
        self.labelled: Sequence[Example] = drawn(every, MOST_TRIED, [recipe.seed, _STREAM], rules)
        others = fitted.unlabelled[:: max(1, -(-len(fitted.unlabelled) // MOST_TRIED))]
        self.examples = (*self.labelled, *others) or workshop.examples
        self._prepare = fitted.preparer()
        self._previewer = Previewer(
            workshop.target, self._prepare, task_of(workshop.run.recipe), here=here
        )

    def of(self, made: RungResult) -> Stage:
        """Return the stage that runs a candidate, and times it where this is the target."""
        if made.rung.file == LITE:
            return self._of_litert(made)
        shop = self._shop
        runtime = shop.target.runtime
        inputs = {
            "rung": made.kept.key,
            "labels": list(shop.fitted.manifest.labels),
            "task": shop.run.recipe.task,
            "static_shapes": shop.target.static_shapes,
            "examples": content_of(self.examples),
            "timed": _machine() if self._here else None,
            "session": shop.target.session.model_dump(),
            "run_here_with": exact_here(),
            "preview": self._previewer.state(),
            "runtime": None if runtime is None else runtime.model_dump(),
            "threads": shop.run.recipe.threads,
            "timing": shop.run.recipe.timing if self._here else None,
            "rivals": {name: seen_here()["other_runtimes"].get(by) for name, by in self.rivals()},
        }
        return Stage("trial", inputs, partial(self._measure, made.graph))

    def _of_litert(self, made: RungResult) -> Stage:
        shop = self._shop
        inputs = {
            "rung": made.kept.key,
            "task": shop.run.recipe.task,
            "examples": content_of(self.examples),
            "timed": _machine() if self._here else None,
            "threads": shop.run.recipe.threads,
            "timing": shop.run.recipe.timing if self._here else None,
            "litert": seen_here()["other_runtimes"].get(LITERT[1]),
        }
        return Stage("trial", inputs, partial(self._measure_litert, made.graph))

    def _measure_litert(self, file: Path, folder: Path, progress: Progress) -> dict[str, Any]:
        shop, (runtime, provider) = self._shop, LITERT
        names = [each.name for each in onnx.load(shop.fitted.graph).graph.output]
        record: dict[str, Any] = {"bytes": file.stat().st_size, "p90_ms": None, "faster": None}
        with scratch(folder) as room:
            files = input_files(self._prepare, self.examples, room)
            graphs, threads = {"reference": shop.fitted.graph}, shop.run.recipe.threads
            (floats,) = variants_of(graphs, files, shop.target, threads)
            own = replace(
                floats, name="candidate", model=str(file), runtime=runtime, provider=provider
            )
            found, _ = Local().outputs(own, room, progress=progress)
            Outputs(zip(names, found.values(), strict=True)).save(folder / OUTPUTS)
            if self._here:
                record |= _against_floats(self._times([floats, own], room))
        return record

    def rivals(self) -> Sequence[tuple[str, str]]:
        """Return other runtimes of the processor, which are timed beside the target's own.

        They decide nothing: a bundle is for the runtime of its target. Empty where this is not it.
        """
        found, runtime = seen_here(), self._shop.target.runtime
        own = runtime and (runtime.name, runtime.provider)
        if not self._here or found["arch"] != "x86_64" or own not in ONNX_ON_CPU:
            return []
        there = {*found["providers"], *found["other_runtimes"]}
        return [each for each in ONNX_ON_CPU if each != own and each[1] in there]

    def reference(self) -> Stage:
        """Return the stage that asks the float graph for its decisions."""
        fitted = self._shop.fitted
        inputs = {"float": fitted.key, "examples": content_of(self.examples)}
        return Stage("reference", inputs, partial(self._outputs, fitted.graph, batch=BATCH))

    def _outputs(
        self, graph: Path, folder: Path, progress: Progress, *, batch: int = 1
    ) -> dict[str, Any]:
        """Run a graph over each example by itself, as the device will; floats may share a batch."""
        session = open_here(onnx.load(graph))
        found = run_session(session, self._prepare, self.examples, progress, batch=batch)
        found.save(folder / OUTPUTS)
        return {"shapes": found.shapes}

    def _measure(self, graph: Path, folder: Path, progress: Progress) -> dict[str, Any]:
        with scratch(folder) as room:
            shop = self._shop
            write_models(room, room, networks(shop.run, shop.fitted, onnx.load(graph), shop.target))
            size = (room / "model.onnx").stat().st_size
        record: dict[str, Any] = {"bytes": size, "p90_ms": None, "faster": None}
        self._outputs(graph, folder, progress)
        if self._previewer.on:
            with scratch(folder) as room:
                host = Outputs.load(folder / OUTPUTS)
                outputs, by = self._previewer.numbers(graph, self.examples, host, room)
            outputs.save(folder / OUTPUTS)
            record["numbers_by"] = by
        if self._here:
            with scratch(folder) as room:
                record |= self._time(graph, room)
            for name in record.get("runtimes", {}).keys() & dict(self.rivals()).keys():
                with scratch(folder) as room:
                    self._elsewhere(name, graph, room).save(folder / outputs_in(name))
        return record

    def _elsewhere(self, name: str, graph: Path, room: Path) -> Outputs:
        """Return what a candidate computes in another runtime on this machine."""
        shop = self._shop
        files = input_files(self._prepare, self.examples[:MOST_IN_OTHERS], room)
        models = {"candidate": graph}
        (own,) = variants_of(models, files, shop.target, shop.run.recipe.threads)
        rival = replace(own, runtime=name, provider=dict(self.rivals())[name])
        return Local().outputs(rival, room)[0]

    def _time(self, graph: Path, room: Path) -> dict[str, Any]:
        """Time the candidate against the float graph, and in other runtimes, in fresh processes."""
        shop = self._shop
        files = input_files(self._prepare, self.examples[:TIMED_INPUTS], room)
        models = {"reference": shop.fitted.graph, "candidate": graph}
        variants = variants_of(models, files, shop.target, shop.run.recipe.threads)
        own = variants[-1]
        rivals = [replace(own, name=n, runtime=n, provider=p) for n, p in self.rivals()]
        refused = ""
        try:
            timed = self._times([*variants, *rivals], room)
        except StageError as error:  # one of them may not take the graph
            if not rivals:
                raise
            timed, refused = self._times(variants, room), first_line(error)
        record, samples = _against_floats(timed), timed.samples
        if "not_timed" in record:
            return record
        if rivals and not refused:
            refused = "; ".join(timed.violations([own.name, *(each.name for each in rivals)]))
        if refused:
            return {**record, "runtimes": {"why": refused}}
        named = {own.runtime: samples["candidate"], **{e.name: samples[e.name] for e in rivals}}
        return {**record, "runtimes": _raced(named)} if rivals else record

    def _times(self, variants: Sequence[Variant], room: Path) -> TimedModels:
        return take_times(variants, room, fewest=self._shop.run.recipe.timing == "quick")


def _against_floats(timed: TimedModels) -> dict[str, Any]:
    """Return what a trial says of a candidate's times against those of the float graph."""
    if broken := timed.violations(("reference", "candidate")):
        return {"not_timed": "; ".join(broken)}
    ratio = speedup(timed.samples["reference"], timed.samples["candidate"]).cpu
    return {
        "p90_ms": summarise(timed.samples["candidate"]).p90_ms,
        "cpu_ratio": ratio.ratio,
        "cpu_ci95": ratio.ci95,
        "faster": {"FASTER": True, "SLOWER": False}.get(ratio.speed),
    }


def outputs_in(runtime: str) -> str:
    """Return the file of what a candidate computed in another runtime."""
    return f"outputs-{runtime}.npz"


def _raced(samples: Mapping[str, Samples]) -> dict[str, Any]:
    """Return what one graph takes in several runtimes, the target's own first."""
    (_, own), *_ = samples.items()
    rows = {}
    for name, each in samples.items():
        ratio = speedup(own, each).cpu
        row = {"p50_ms": summarise(each).p50_ms, "cpu_ratio": ratio.ratio}
        rows[name] = {**row, "cpu_ci95": ratio.ci95}
    return rows


def _machine() -> list[str]:
    return [cpu_model(), platform.node(), *sorted(isa_flags())]


def told_runtimes(record: Mapping[str, Any]) -> str:
    """Say how fast each runtime is beside the target's own.

    >>> own = {"p50_ms": 0.24, "cpu_ratio": 1.0, "cpu_ci95": [1.0, 1.0]}
    >>> other = {**own, "cpu_ratio": 1.13, "cpu_ci95": [1.1, 1.16]}
    >>> told_runtimes({"onnxruntime": own, "openvino": other})
    'onnxruntime 0.24 ms; openvino 0.24 ms, 1.13 x [1.10, 1.16] as fast'
    """
    if "why" in record:
        return f"other runtimes not timed: {record['why']}"
    (own, first), *others = record.items()
    words = [f"{own} {first['p50_ms']:.3g} ms"]
    for name, row in others:
        ratio = "" if row["cpu_ratio"] is None else f", {row['cpu_ratio']:.2f} x"
        if row["cpu_ci95"] is not None:
            low, high = row["cpu_ci95"]
            ratio += f" [{low:.2f}, {high:.2f}] as fast"
        words.append(f"{name} {row['p50_ms']:.3g} ms{ratio}")
    return "; ".join(words)
