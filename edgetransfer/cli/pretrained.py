"""The command that trains a start over episodes: it parses what is its own, and prints.

It does not train.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from edgetransfer.cli.progress import TerminalReporter
from edgetransfer.cli.use import asked_of, print_json, store_at
from edgetransfer.spec.options import recipe_from

if TYPE_CHECKING:
    from collections.abc import Mapping


def pretrain(options: Mapping[str, Any]) -> None:
    """Train, and say how to use what came of it."""
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.pipeline.pretraining import Plan
    from edgetransfer.pipeline.pretraining import pretrain as run
    from edgetransfer.transfer.episodes import Task

    task = Task(options["ways"], options["shots"], options["queries"])
    plan = Plan(options["method"], task, options["episodes"], options["minutes"])
    asked = resolve(recipe_from(asked_of(options)), store_at(options["cache"]), TerminalReporter())
    card = run(asked, plan, options["out"])
    if options["json"]:
        print_json(card)
        return
    out = options["out"]
    sys.stdout.write(f"\n  {out}\n  judge it:  edgetransfer fewshot DATA --backbone {out}\n")
    sys.stdout.write(f"  build:     edgetransfer build DATA --backbone {out}\n")
