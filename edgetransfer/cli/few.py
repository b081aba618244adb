"""The command about few examples: it parses what is its own, and prints.

It does not evaluate.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgetransfer.cli.progress import TerminalReporter
from edgetransfer.cli.use import asked_of, print_json, store_at, whole_numbers
from edgetransfer.spec.options import recipe_from

if TYPE_CHECKING:
    from collections.abc import Mapping


def fewshot(options: Mapping[str, Any]) -> None:
    """Print the accuracy of every head with its interval."""
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.pipeline.fewshot import Trial
    from edgetransfer.pipeline.fewshot import fewshot as run

    trial = Trial(
        options["ways"],
        whole_numbers(options["shots"], "--shots", least=1),
        options["queries"],
        options["episodes"],
    )
    reporter = TerminalReporter()
    asked = resolve(recipe_from(asked_of(options)), store_at(options["cache"]), reporter)
    scores = run(asked, trial)
    if options["json"]:
        print_json({**asdict(trial), "scores": [asdict(each) for each in scores]})
        return
    sys.stdout.write(f"\n{trial.ways}-way, {trial.queries} queries, {trial.episodes} episodes\n")
    for each in scores:
        interval = f"{100 * each.accuracy:5.1f} +- {100 * each.half_width:.1f} %"
        sys.stdout.write(f"  {each.shots:>3}-shot  {each.head:<12} {interval}\n")
