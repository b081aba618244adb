"""The sections of the report that are about classes."""

from edgetransfer.report.section import declare
from edgetransfer.report.sections import gates
from edgetransfer.spec.tasks import CLASSIFICATION

CLAIMS = frozenset(
    ("accuracy", "kl", "classes", "calibration", "min-accuracy", "min-macro-f1", "min-recall")
)
"""Gates that say how good a classifier is."""
gates.CLAIMS |= CLAIMS
gates.GATES |= {
    "accuracy": "Accuracy",
    "kl": "Divergence",
    "classes": "Worst class",
    "calibration": "Calibration error",
    "min-accuracy": "Accuracy to reach",
    "min-macro-f1": "Macro-F1 to reach",
    "min-recall": "Recall to reach",
    "chance": "Better than chance",
    "recorded": "As its build recorded",
}
gates.ALLOWS |= dict.fromkeys(("min-accuracy", "min-macro-f1", "min-recall"), "at least")
gates.ALLOWS |= {"chance": "over", "recorded": "about"}
declare(__name__, __path__, CLASSIFICATION)
