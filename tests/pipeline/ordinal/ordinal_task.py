"""A task that no module of the package knows: ordered ranks, told by one score an example.

A label is a whole number; the network gives a score [N, 1] in places of the sorted labels, and the
nearest one is the decision. Its second output, ``beyond`` [N, 1, ranks - 1], is how far the score
is beyond the bound of every two ranks. It is fitted by ridge regression on frozen features, and
judged by the mean distance from the right rank.
"""

from functools import partial

import numpy as np
import torch
from torch import nn

from edgetransfer.bundle.forms import Count, Form, Number
from edgetransfer.measure.gates import held, not_run
from edgetransfer.measure.measurement import TaskGates, TaskTrial
from edgetransfer.measure.plain import Missing
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.fit.trace import keep_graph, traced
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.pipeline.task import Shipped, Step, Usage
from edgetransfer.report.page import tile
from edgetransfer.report.section import SECTIONS, Section
from edgetransfer.report.sections import gates as gate_words
from edgetransfer.tasks.classification.labels import CLASSES

PENALTY = 1.0
NORMAL_95 = 1.645


class Scorer(nn.Module):
    """A backbone, one number of its features, and how far that is beyond the bounds of ranks."""

    def __init__(self, network, weight, bounds):
        super().__init__()
        self.network = network
        self.bounds = torch.arange(bounds) + 0.5
        self.head = nn.Linear(len(weight) - 1, 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight[None, :-1]))
            self.head.bias.fill_(float(weight[-1]))

    def forward(self, *inputs):
        score = self.head(self.network(*inputs))
        return score, score[:, :, None] - self.bounds


def bounds_of(labels):
    return max(1, len(labels) - 1)


def changed(reference, candidate, ties=None):
    reference, candidate = reference["score"], candidate["score"]
    moved = np.rint(reference) != np.rint(candidate)
    return (moved & (np.abs(reference - candidate) > 2 * (ties or {}).get("score", 0.0)))[:, 0]


def ridge(rows, truth):
    rows = np.hstack([rows, np.ones((len(rows), 1))]).astype(np.float64)
    square = rows.T @ rows + PENALTY * np.eye(rows.shape[1])
    return np.linalg.solve(square, rows.T @ truth).astype(np.float32)


class ErrorForm(Form):
    n: Count
    reference: Number | None
    candidate: Number | None


class RanksForm(Form):
    error: ErrorForm


class JudgedRanks:
    def __init__(self, raw):
        self.raw = raw
        self.errors = None
        if raw.truth is not None:
            outputs = (raw.reference, raw.candidate)
            self.errors = [np.abs(each["score"][:, 0] - raw.truth) for each in outputs]

    def gates(self):
        if self.errors is None:
            return TaskGates(loss=(not_run("mean-error", "the examples have no labels"),))
        lost = self.errors[1] - self.errors[0]
        upper = lost.mean() + NORMAL_95 * lost.std(ddof=1) / len(lost) ** 0.5
        limit = self.raw.budget.max_drop_pp / 100
        status = "PASS" if upper < limit else "FAIL" if lost.mean() > limit else "INCONCLUSIVE"
        told = f"costs at most {upper:.3f} ranks (95 % bound), limit {limit:g}"
        return TaskGates(loss=(held("mean-error", status, told, (upper, limit, "ranks")),))

    def written(self):
        absent = Missing("the examples have no labels")
        means = [absent, absent] if self.errors is None else [each.mean() for each in self.errors]
        count = 0 if self.errors is None else len(self.errors[0])
        return {"error": {"n": count, "reference": means[0], "candidate": means[1]}}


class Ordinal:
    name = "ordinal"
    labels = CLASSES  # ranks have names, as classes do
    columns = ("rank", "score")
    usage = Usage(
        {"score": "the rank", "beyond": "how far it is beyond each bound"},
        {"python": "print(labels[round(score[0, 0])], score[0, 0])"},
    )
    shift_invariant = False
    claims = frozenset({"mean-error"})
    report_form = RanksForm

    def outputs(self, labels):
        return {"score": (1,), "beyond": (1, bounds_of(labels))}

    def changed(self, reference, candidate, ties=None):
        return changed(reference, candidate, ties)

    def examine(self, raw, drift):
        return JudgedRanks(raw)

    def hold(self, tried, budget, drift):
        n = len(tried.truth)
        if not n:
            return TaskTrial()
        outputs = (tried.reference["score"][:n, 0], tried.candidate["score"][:n, 0])
        before, after = (np.abs(each - tried.truth).mean() for each in outputs)
        return TaskTrial(100 * (after - before), row={"mean_error": float(after)})

    def plan(self, run):
        return [Step("ridge", "one score of frozen features")]

    def choose(self, run):
        return run

    def fit(self, run):
        manifest = read_data(run)
        opened = OpenedBackbone(run, manifest)
        features, fitted = opened.features(manifest), manifest.fitted
        truth = self.labels.truth(manifest, fitted)

        def make(folder, _):
            rows = np.load(features.file("features.npy"))[: len(fitted)]
            np.save(folder / "weight.npy", ridge(rows, truth))
            return {"method": "ridge", "fitted_on": f"{len(fitted)} examples"}

        inputs = {"features": features.key, "truth": truth.tolist()}
        kept = run.keep(Stage("ridge", inputs, make))
        weight, bounds = np.load(kept.file("weight.npy")), bounds_of(manifest.labels)
        network = Scorer(opened.backbone.network, weight, bounds).eval()
        facts = {"backbone": opened.card, "fit": kept.record}
        prove = partial(traced, network, outputs=("score", "beyond"), changed=changed)
        return keep_graph(run, manifest, opened.backbone, kept.key, facts, prove)

    def ship(self, run, fitted, compressed, target, progress):
        return Shipped(facts={"ranks": list(fitted.manifest.labels)})

    def record(self, report):
        return None

    def answer(self, outputs, labels):
        score = float(outputs["score"][0, 0])
        return ((labels[int(np.clip(np.rint(score), 0, len(labels) - 1))], score),)

    def tiles(self, report):
        error = report["error"]
        return [tile("Mean error", error["candidate"].show("{:.3f} ranks".format))]


TASK = Ordinal()


def _rows(error):
    sides = ("reference", "candidate")
    return {"told": [error[each].show("{:.3f} ranks".format) for each in sides]}


def _figures(error):
    before, after = error["reference"], error["candidate"]
    if before is not None:  # else there were no labels
        yield "mean error", f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f} ranks"


SECTIONS["error"] = Section(
    "error",
    15,
    "Mean error",
    "How far the score is from the right rank.",
    block="error",
    rows=_rows,
    template="<p>floats {{ told[0] }}, shipped {{ told[1] }}</p>",
    figures=_figures,
    task="ordinal",
)
gate_words.CLAIMS |= TASK.claims
gate_words.GATES["mean-error"] = "Mean error"
