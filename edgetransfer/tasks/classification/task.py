"""Classification as a value: how a build, a bench and a prediction reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.pipeline.task import Usage
from edgetransfer.spec.tasks import CLASSIFICATION
from edgetransfer.tasks.classification import report
from edgetransfer.tasks.classification.fit import fit as method
from edgetransfer.tasks.classification.judge import judged
from edgetransfer.tasks.classification.judge.gates import written_record
from edgetransfer.tasks.classification.judge.metrics import LOGITS, changed_outputs
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.tasks.classification.report import accuracy
from edgetransfer.tasks.classification.report.form import ClassesForm

if TYPE_CHECKING:
    from edgetransfer.agent.outputs import Outputs
    from edgetransfer.measure.measurement import Shape
    from edgetransfer.pipeline.graphs import CompressedGraph, FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.pipeline.task import Shipped
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.target import TargetSpec

_PYTHON = """\
shares = np.exp(logits[0] - logits[0].max())
print(labels[shares.argmax()], shares.max() / shares.sum())"""
_JAVASCRIPT = """\
const best = logits.data.indexOf(Math.max(...logits.data));
const total = logits.data.reduce((sum, each) => sum + Math.exp(each - logits.data[best]), 0);
console.log(labels[best], 1 / total);"""
_ANSWER = """\
export const answer = ({ logits }, labels) => {
  const most = Math.max(...logits);
  const shares = Array.from(logits, (each) => Math.exp(each - most));
  const total = shares.reduce((sum, each) => sum + each, 0);
  const said = shares.map((each, at) => [labels[at], each / total]);
  return said.sort((one, other) => other[1] - one[1]).slice(0, 3);
};"""
_KOTLIN = """\
val logits = (outputs["logits"].get() as OnnxTensor).floatBuffer
return labels[(0 until logits.remaining()).maxByOrNull { logits[it] }!!]"""
BEST = 3
"""Classes that a prediction names."""


class Classification:
    """One of a few classes for every example: the largest of its logits; see `pipeline.task.Task`.

    The output is logits [N, C], labels the classes in their order.
    """

    name = CLASSIFICATION
    labels = CLASSES
    columns = ("class", "share")
    usage = Usage(
        {
            LOGITS: "float32 [batch, labels], in the order of labels.txt, the higher the likelier; "
            "softmax, where shares are wanted, is yours"
        },
        {"python": _PYTHON, "javascript": _JAVASCRIPT, "kotlin": _KOTLIN},
        _ANSWER,
        {"statistics.safetensors": "means of the network's features, for `edgetransfer add-class`"},
    )
    shift_invariant = True
    claims = report.CLAIMS
    report_form = ClassesForm
    changed = staticmethod(changed_outputs)
    plan = staticmethod(method.plan)
    fit = staticmethod(method.fit)
    examine = staticmethod(judged.examine)
    hold = staticmethod(judged.hold)
    record = staticmethod(written_record)
    tiles = staticmethod(accuracy.tiles)

    def outputs(self, labels: Sequence[str]) -> Mapping[str, Shape]:
        """Return that there is a logit a class."""
        return {LOGITS: (len(labels),)}

    def choose(self, run: Run) -> Run:
        """Choose a backbone by probes and by time, where it was not named."""
        if not run.candidates:
            return run
        from edgetransfer.tasks.classification.rank import choose

        return choose(run)

    def ship(
        self,
        run: Run,
        fitted: FittedGraph,
        compressed: CompressedGraph,
        target: TargetSpec,
        progress: Progress,
    ) -> Shipped:
        """Keep statistics of the network's features, so that classes can be added later."""
        from edgetransfer.tasks.classification.ship.feature_statistics import ship

        return ship(run, fitted, compressed, target, progress)

    def answer(self, outputs: Outputs, labels: Sequence[str]) -> tuple[tuple[str, float], ...]:
        """Name the best classes with their softmax shares."""
        from scipy.special import softmax

        shares = softmax(outputs[LOGITS][0].astype(np.float64))
        return tuple((labels[i], float(shares[i])) for i in np.argsort(-shares)[:BEST])


TASK = Classification()
