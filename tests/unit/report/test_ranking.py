"""Ranked backbones as a page."""

import re

from edgetransfer.tasks.classification.report.candidates import pareto, render_ranking

ROWS = [
    {"backbone": "big<b>", "accuracy": 0.96, "log_loss": 0.1, "p90_ms": 9.0, "on_front": True},
    {"backbone": "small", "accuracy": 0.8, "log_loss": 0.5, "p90_ms": 1.0, "on_front": True},
    {"backbone": "poor", "accuracy": 0.7, "log_loss": 0.9, "p90_ms": 5.0, "on_front": False},
]
RECORD = {"candidates": ROWS, "examples": 195, "timed_on": "a CPU"}


def test_the_page_holds_every_candidate_escaped():
    page = render_ranking(RECORD)
    assert page.count("big&lt;b&gt; ●") == 2  # among what they know and what they cost
    assert "<b>" not in page
    assert "Timed on a CPU" in page
    assert "195 training examples" in page
    assert "<script" not in page


def test_points_on_the_front_are_full_and_joined():
    plot = str(pareto(ROWS))
    assert plot.count('class="full"') == 2
    assert plot.count('class="ring"') == 1
    (points,) = re.findall('points="(.*?)"', plot)
    (x1, y1), (x2, y2) = (map(float, each.split(",")) for each in points.split())
    assert x1 < x2
    assert y1 > y2  # better is higher


def test_without_times_there_is_no_plot():
    untimed = [{k: v for k, v in row.items() if k != "p90_ms"} for row in ROWS]
    page = render_ranking({"candidates": untimed, "examples": 1})
    assert "<svg viewBox" not in page
    assert "Not timed: this machine is not the target." in page
