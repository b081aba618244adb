"""The commands about few examples: episodes, meta-learned starts, classes added to a bundle.

It does not parse options.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgetransfer.cli.progress import TerminalReporter
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.api import default_cache
from edgetransfer.pipeline.store import Store
from edgetransfer.spec.options import FIELDS, recipe_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.pipeline.run import Run


def _json(value: Any) -> None:  # noqa: ANN401 (any plain JSON value)
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _run(options: Mapping[str, Any]) -> Run:
    from edgetransfer.pipeline.build import resolve

    asked = {name: value for name, value in options.items() if name in FIELDS}
    store = Store(options["cache"] or default_cache())
    return resolve(recipe_from(asked, None), store, TerminalReporter())


def _shots(text: str) -> tuple[int, ...]:
    try:
        shots = tuple(int(each) for each in text.split(","))
    except ValueError:
        shots = ()
    if not shots or min(shots) < 1:
        raise SpecError(
            "not a list of numbers of examples",
            where="--shots",
            found=repr(text),
            expected="whole numbers from 1, with commas: 1,5",
        )
    return shots


def fewshot(options: Mapping[str, Any]) -> None:
    """Print the accuracy of every head with its interval."""
    from edgetransfer.pipeline.fewshot import Trial
    from edgetransfer.pipeline.fewshot import fewshot as run

    counts = options["ways"], _shots(options["shots"]), options["queries"], options["episodes"]
    trial = Trial(*counts)
    scores = run(_run(options), trial)
    if options["json"]:
        _json({**asdict(trial), "scores": [asdict(each) for each in scores]})
        return
    sys.stdout.write(f"\n{trial.ways}-way, {trial.queries} queries, {trial.episodes} episodes\n")
    for each in scores:
        interval = f"{100 * each.accuracy:5.1f} +- {100 * each.half_width:.1f} %"
        sys.stdout.write(f"  {each.shots:>3}-shot  {each.head:<12} {interval}\n")
