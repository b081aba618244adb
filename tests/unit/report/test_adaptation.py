"""What moving to the device's pictures brought is told in the words of the terminal."""

from edgetransfer.report.node import Node
from edgetransfer.tasks.classification.report.checks import ADAPTATION
from edgetransfer.tasks.classification.study import told_adaptation, warnings

ROW = {
    "subject_score": 0.6, "rival_score": 0.7, "delta_pp": -10.0, "ci95_pp": [-15.0, -5.0],
    "n": 200, "examples": "labelled examples of the device (site=roof)", "finding": "worse",
}  # fmt: skip
BLOCK = {
    "asked": "align", "method": "align", "unlabelled": 90,
    "shift": {"auc": 0.971, "ci95": [0.95, 0.984]}, "comparison": ROW, "warnings": warnings(ROW),
}  # fmt: skip
DIFFERENCE = (
    "0.600 against 0.700, difference -10.0 pp [-15.0, -5.0] on 200 labelled examples of the "
    "device (site=roof)"
)


def test_harm_is_warned_of():
    assert ADAPTATION.values(Node({"adaptation": BLOCK}), Node({}))["told"] == [
        f"Warning: the adaptation makes it worse: {DIFFERENCE}.",
        "Device pictures can be told from the labelled ones with AUC 0.97 [0.95, 0.98].",
        f"Adapted (align): {DIFFERENCE}.",
    ]
    assert warnings({**ROW, "finding": "undecided"}) == warnings(None) == []


def test_nothing_is_claimed_that_was_not_measured():
    block = {"method": "norms", "unmeasured": "no labels"}
    assert list(told_adaptation(block)) == ["adapted (norms); the gain was not measured: no labels"]


def test_auto_says_what_it_tried():
    tried = {"method": "align", "gain_pp": 2.0, "n": 50, "taken": False}
    assert list(told_adaptation({"method": "none", "tried": [tried]})) == [
        "align: +2.0 pp on 50 examples to choose by, not taken",
        "no adaptation was better than none, so that none is shipped",
    ]


def test_a_report_without_it():
    assert ADAPTATION.values(Node({}), Node({})) is None
