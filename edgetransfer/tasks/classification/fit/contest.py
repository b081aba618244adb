"""Whether a dearer way of fitting beats the probe, on labels of neither fit nor test set."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_model, save_model

from edgetransfer.errors import StageError
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, FittedNetwork, group_index, told
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import fit_at, score, temperature
from edgetransfer.tasks.classification.train.choice import (
    WORTH,
    Gain,
    HeldOut,
    Part,
    gain,
    parts,
)
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.transfer.machine_settings import Machine

if TYPE_CHECKING:
    from edgetransfer.backbone.model import LinearHead
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.train.lesson import Schedule

Array = np.ndarray[Any, Any]


class OutOfTimeError(StageError):
    """Not one epoch fits the time, or not all unasked; `told` says what they take."""

    def __init__(self, minutes: float, needed: float, rows: int, epochs: int = 1) -> None:
        self.told = (
            f"one epoch over {rows} examples, with what comes before and after it, takes about "
            f"{needed:.1f} minutes here"
        )
        if epochs > 1:
            self.told = (
                f"{epochs} epochs over {rows} examples, parts held out included, take about "
                f"{needed:.0f} minutes here, and unasked it gets {minutes:g}: "
                f"--time-budget {ceil(needed)} gives it those"
            )
        super().__init__(
            "fine-tuning does not fit the time",
            where=f"--time-budget {minutes:g}",
            found=self.told,
            fix="give more time, or build with --fit probe",
        )


class LabelledExamples:
    """The labelled examples of a fit: train first, then validation, and what is held out of them.

    Labels `truth` are int [N]; of the `parts` that are held out in turn the validation set is the
    first. The first `fitted` examples are fitted on in the end; `given` is whether somebody gave a
    validation set, which is only judged on, `refits` whether what is chosen has to be fitted again,
    for no part has seen all of those. StageError where nothing can be held out.
    """

    def __init__(self, run: Run, manifest: Manifest) -> None:
        train = manifest.split("train")
        self.examples: tuple[Example, ...] = (*train, *manifest.split("validation"))
        self.truth = manifest.label_index(self.examples)
        self.metric: str = run.recipe.metric
        self.seed = run.recipe.seed
        self.fitted, self.given = len(manifest.fitted), bool(manifest.given)
        groups = group_index(run.recipe.data.split_by, train)
        self.parts = parts(
            self.truth, len(train), carved=manifest.carved, groups=groups, seed=self.seed
        )
        if not self.parts:
            raise StageError(
                "no labelled example can be held out to choose by",
                where=run.recipe.data.source,
                found="no validation set, and a class with one example",
                expected="a validation set, or two examples of every class at least",
                fix="give more examples, or build with --fit probe",
            )
        self.refits = len(self.parts[0].fitted) < self.fitted

    def head(self, manifest: Manifest, fitted: FittedNetwork, part: Part) -> LinearHead:
        """Return the probe that has seen one part's examples alone, with the C of all."""
        opened = fitted.opened
        looks = opened.looks(manifest)
        known = Known(
            looks=None if looks is None else np.load(looks.file("looks.npy"))[:, part.fitted],
            source=opened.backbone.classifier,
        )
        rows = np.load(opened.features(manifest).file("features.npy"))[part.fitted]
        return fit_at(rows, self.truth[part.fitted], fitted.record["strength"], known)


@dataclass(frozen=True)
class Contest:
    """What the parts that were held out say, `of` so many that can be.

    The gain over the probe is at lengths that were chosen without the examples judged.
    """

    held: HeldOut
    gain: Gain
    of: int
    reused: bool

    def told(self) -> str:
        """Say what was found."""
        return f"{self.gain.told()}, {len(self.held.said)} of {self.of} parts held out"

    def history(self) -> list[list[float]]:
        """Return [log loss at its own temperature, metric] after each epoch, the probe first."""
        held = self.held
        after = (held.after(epoch) for epoch in range(held.epochs + 1))
        scores = [score(each, held.truth, held.metric) for each in after]
        return [[-each.mended, each.value] for each in scores]

    def settled(self, length: int, count: int) -> tuple[float, Array]:
        """Return the temperature after some epochs, and logits [count, C], NaN of the others."""
        said = self.held.after(length)
        found = temperature(said, self.held.truth) if length else 1.0
        every = np.full((count, said.shape[1]), np.nan, dtype=np.float32)
        every[self.held.rows] = said / found
        return found, every

    def record(self, length: int, data: LabelledExamples) -> dict[str, Any]:
        """Return what the manifest says of it."""
        parted, gained = len(self.held.said), self.gain
        value = gained.after if parted > 1 else self.history()[length][1]
        by = "the validation set" if parted == 1 else f"{parted} parts held out in turn"
        return {
            "held_out": {"metric": gained.metric, "value": value, "n": gained.n, "by": by},
            "gain": {key: each for key, each in asdict(gained).items() if key != "error"},
            "parts": {"held_out": parted, "of": self.of},
            "fitted_on": told_fitted(data),
        }


def told_fitted(data: LabelledExamples) -> str:
    """Say what was fitted on in the end."""
    if data.given:
        return f"train: {data.fitted} examples; validation chose, and was not fitted on"
    return f"train and the validation set carved out of it: {data.fitted} examples"


Asked = tuple[StageResult, Array]


@dataclass(frozen=True)
class ContestPlan:
    """How long a contest takes here, in seconds, about, and how many minutes it may take.

    `before` comes first, such as a race of rates; then the fit without a part, and `again` is the
    fit on all labels of what has won. Minutes are None without a limit.
    """

    before: float
    part: float
    again: float
    minutes: float | None

    def fits(self, seconds: Sequence[float]) -> bool:
        """Tell whether another part does, from the seconds that each has taken."""
        spent = self.before + sum(seconds) + max([self.part, *seconds]) + self.again
        return self.minutes is None or spent <= 60 * self.minutes

    def told(self, name: str, parts: int) -> str:
        """Say it before the work.

        >>> ContestPlan(12.0, 60.0, 90.0, 30.0).told("fine-tuning", 5)
        'fine-tuning is tried on up to 5 parts of the labels: about 3 to 7 minutes here, of 30'
        """
        most = 1
        while most < parts and self.fits([self.part] * most):
            most += 1
        low, high = ((self.before + n * self.part + self.again) / 60 for n in (1, most))
        span = f"{low:.0f}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f}"
        limit = "" if self.minutes is None else f", of {self.minutes:g}"
        tried = f"up to {most} parts" if most > 1 else "1 part"
        return f"{name} is tried on {tried} of the labels: about {span} minutes here{limit}"


def hold(
    data: LabelledExamples,
    ask: Callable[[int, Part], Asked],
    *,
    plan: ContestPlan,
    most: int | None = None,
) -> Contest:
    """Hold parts out in turn until it is settled who is better, or the time is up.

    `ask` fits on one part, and returns what was kept with logits [E + 1, n, C] of what was held
    out. At most `most` parts are asked of; None for all that fit the plan.
    """
    said: list[Array] = []
    seconds: list[float] = []
    reused = True
    for number, part in enumerate(data.parts):
        kept, logits = ask(number, part)
        said.append(logits)
        seconds.append(kept.cost.seconds)
        reused = reused and kept.reused
        rows = np.concatenate([each.held for each in data.parts[: len(said)]])
        held = HeldOut(rows, tuple(said), data.truth[rows], data.metric)
        gained = gain(held.after(0), held.crossed(data.seed), held.truth, data.metric, data.seed)
        if gained.settled or len(said) == most or not plan.fits(seconds):
            break
    return Contest(held, gained, len(data.parts), reused)


def fit_epochs(
    minutes: float | None, schedule: Schedule, machine: Machine, rows: int, *, before: int = 0
) -> int:
    """Return how many epochs fit the time after some steps, all without limit; OutOfTimeError."""
    if minutes is None or not machine.step_seconds:
        return schedule.epochs
    lead, each = (machine.step_seconds * steps for steps in (before, schedule.steps_of(rows)))
    epochs = int((60 * minutes - lead) / each)
    if epochs < 1:
        raise OutOfTimeError(minutes, (lead + each) / 60, rows)
    return min(schedule.epochs, epochs)


SAID = "said.npy"
WEIGHTS = "network.safetensors"


class Contender(ABC):
    """A way of fitting that starts from the probe and takes longer.

    It has a name in words, and one for its stages; `opened` are libraries whose networks are
    trained without an import from here, `together` whether every process of a team trains.
    """

    name: str
    stage: str
    opened: tuple[str, ...]
    together = False
    _machine: StageResult
    _schedule: Any

    def __init__(
        self, run: Run, manifest: Manifest, fitted: FittedNetwork, asked: dict[str, Any]
    ) -> None:
        self._run, self._manifest, self._fitted = run, manifest, fitted
        self._data = LabelledExamples(run, manifest)
        self._first: StageResult | None = None
        self._inputs = {"probe": fitted.kept.key, "metric": run.recipe.metric, **asked}

    def hold(self, *, most: int | None = None) -> Contest:
        """Fit on parts of the labels, at most so many, as many as fit the time.

        Which way of training is fastest here depends on timing, so it is found once, kept, and
        taken again by every later run with the same start: a resumed run does the same arithmetic.
        OutOfTimeError where not one epoch fits the time.
        """
        run = self._run
        with telling(run.reporter, f"{self.stage} time") as line:
            self._machine = run.store.keep(self._measured())
            plan = self._planned()
            line.summary = plan.told(self.name, most or len(self._data.parts))
            line.reused = self._machine.reused
        with telling(run.reporter, f"{self.stage} parts") as line:
            self._raced = self._race(line.progress)

            def ask(number: int, part: Part) -> tuple[StageResult, Array]:
                inputs = {**self._started, "part": [part.fitted.tolist(), part.held.tolist()]}
                make = partial(self._part, part)
                stage = Stage(
                    f"{self.stage}-part", inputs, make,
                    packages=self.opened, together=self.together,
                )  # fmt: skip
                kept = run.store.keep(stage, line.progress)
                self._first = kept if number == 0 else self._first
                return kept, np.load(kept.file(SAID))

            contest = hold(self._data, ask, plan=plan, most=most)
            line.summary, line.reused = contest.told(), contest.reused
        return contest

    def settle(self, contest: Contest, *, shortest: int = 0) -> FittedNetwork:
        """Fit on all labels for as many epochs as held-out ones like best, of so many at least."""
        length = contest.held.length(shortest)
        inputs = {**self._started, "parts": len(contest.held.said), "length": length}
        make = partial(self._train, contest, length)
        stage = Stage(self.stage, inputs, make, self._told, self.opened, together=self.together)
        kept = self._run.keep(stage)
        load_model(self._fitted.network, kept.file(WEIGHTS))
        return replace(self._fitted, kept=kept, record={**kept.record, **self._raced})

    @property
    def _started(self) -> dict[str, Any]:
        """What every fit depends on."""
        schedule = asdict(self._schedule)
        return {**self._inputs, "machine": self._machine.key, "schedule": schedule}

    def _way(self) -> Machine:
        """Return how training runs."""
        return Machine(**self._machine.record)

    def _ran(self) -> dict[str, Any]:
        return {name: getattr(self._way(), name) for name in ("threads", "bf16", "device")}

    def _within(
        self, schedule: Schedule, machine: Machine, rows: tuple[int, int], *, before: int = 0
    ) -> tuple[int, ContestPlan]:
        """Return how many epochs fit the time, for one part and for all labels, and what they take.

        `rows` are those of the first part and of all; `before` are steps that come first.
        """
        minutes, (one, every) = self._run.recipe.time_budget, rows
        again = every if self._data.refits else 0
        step, asked = machine.step_seconds, schedule.epochs
        needed = step * (before + asked * schedule.steps_of(one + again)) / 60
        if minutes is not None and needed > minutes and self._run.recipe.fit.time_budget is None:
            raise OutOfTimeError(minutes, needed, one + again, asked)  # unasked: all or nothing
        epochs = fit_epochs(minutes, schedule, machine, one + again, before=before)
        part, whole = (epochs * step * schedule.steps_of(count) for count in (one, again))
        return epochs, ContestPlan(before * step, part, whole, minutes)

    def _start(self, part: Part) -> Classifier:
        """Return the probe that has not seen what a part holds out, on its backbone."""
        head = self._data.head(self._manifest, self._fitted, part)
        return Classifier(copy.deepcopy(self._fitted.network.network), head).eval()

    def _part(self, part: Part, folder: Path, progress: Progress) -> dict[str, Any]:
        network, said, facts = self._fit_without(part, folder, progress)
        np.save(folder / SAID, said)
        if len(part.fitted) == self._data.fitted:
            save_model(network, str(folder / WEIGHTS))
        return facts

    def _train(
        self, contest: Contest, length: int, folder: Path, progress: Progress
    ) -> dict[str, Any]:
        network, facts = self._fit_all(length, folder, progress)
        cooled, said = contest.settled(length, len(self._data.examples))
        network.cool(cooled)
        save_model(network, str(folder / WEIGHTS))
        np.save(folder / HELD_OUT, said)
        facts["temperature"] = cooled
        return {"method": self.stage, **self._recorded(contest, length, facts)}

    def _told(self, record: Mapping[str, Any]) -> str:
        return told(record)

    def _race(self, _: Progress) -> dict[str, Any]:
        """Settle what is left to settle before the parts; also return what is told of it."""
        return {}

    @abstractmethod
    def _measured(self) -> Stage:
        """Return the stage that finds the fastest way to train, on a few examples."""

    @abstractmethod
    def _planned(self) -> ContestPlan:
        """Settle how many epochs fit the time, and return how long everything takes."""

    @abstractmethod
    def _fit_without(
        self, part: Part, folder: Path, progress: Progress
    ) -> tuple[Classifier, Array, dict[str, Any]]:
        """Fit without a part; also return what is said of it after every epoch, and facts."""

    @abstractmethod
    def _fit_all(
        self, length: int, folder: Path, progress: Progress
    ) -> tuple[Classifier, dict[str, Any]]:
        """Fit on all labels for so many epochs, 0 for the probe; also return facts."""

    @abstractmethod
    def _recorded(self, contest: Contest, length: int, facts: dict[str, Any]) -> dict[str, Any]:
        """Return what the manifest says of the fit, `facts` among it."""


def keep_if_better(run: Run, fitted: FittedNetwork, contender: Contender) -> FittedNetwork:
    """Fit in the dearer way where the metric is better on held-out labels; a tie keeps the probe.

    SpecError where torch cannot train on the device that was asked for.
    """
    held = fitted.record["held_out"]
    if held["value"] is not None and held["value"] >= 1 - WORTH:
        why = (
            f"the probe's {held['metric']} is {held['value']:.3f} on {held['n']} held-out "
            f"examples: {contender.name} has nothing to gain"
        )
        return because(run, fitted, why)
    try:
        contest = contender.hold()
    except OutOfTimeError as error:
        return because(run, fitted, f"{contender.name} does not fit the time: {error.told}")
    why = f"{contender.name}: {contest.gain.told()}"
    if contest.gain.better:
        return because(run, contender.settle(contest, shortest=1), why)
    return because(run, fitted, f"{why}: not better, so the probe is kept")


def because(run: Run, fitted: FittedNetwork, why: str) -> FittedNetwork:
    """Say why this fit was taken, on the screen and in the record."""
    with telling(run.reporter, "fit") as line:
        line.reused, line.summary = fitted.kept.reused, why
    return replace(fitted, record={**fitted.record, "why": why})
