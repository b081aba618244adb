"""The toy task of ranks, for labels that are numbers with fractions."""

import numpy as np
from ordinal_task import Ordinal

from edgetransfer.data.labels import LabelRules

QUARTERS = (0.25, 0.5, 0.75)


class NumberLabels(LabelRules):
    """A label is a number; what is divided is divided by quarters of all numbers."""

    def strata(self, labels):
        values = np.array(labels, dtype=float)
        return [f"{each}" for each in np.searchsorted(np.quantile(values, QUARTERS), values)]

    def truth(self, manifest, examples):
        return np.array([float(example.label) for example in examples])

    def problem(self, label):
        try:
            return "" if np.isfinite(float(label)) else "which is no finite number"
        except ValueError:
            return "which is no number"


class Measured(Ordinal):
    name = "measured"
    labels = NumberLabels()
    columns = ("what", "size")

    def answer(self, outputs, labels):
        return ((labels[0], float(outputs["score"][0, 0])),)


TASK = Measured()
