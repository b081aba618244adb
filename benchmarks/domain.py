"""Moving to the pictures of a device: with and without each method of `--adapt`.

Usage: python benchmarks/domain.py [RESULT.json [CASE ...]]

Where cases are named (by the beginning of their name), the rows of the others in RESULT.json stay.

A draw takes labelled pictures of one domain, unlabelled ones of the other, and judges on others of
the other: no picture has two parts. `auto` chooses by the first 50 of the judged ones, as a build
does (`classification.study.choose_method`); everything is judged on the rest. Intervals are
Student's, 95 %, of the mean over draws of one data set; where a case has several devices, over
their means.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from domain_pictures import MADE, Array, Domain, Source, run
from scipy.stats import sem, t

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.measure.stats.intervals import area
from edgetransfer.pipeline.demo import write_digits
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.tasks.classification.head.shift import (
    domain_scores,
    fit_alignment,
    most_pictures,
    renormalise,
    weigh,
)
from edgetransfer.tasks.classification.study import choose_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgetransfer.backbone.model import Backbone, LinearHead

    Made = Callable[[], Iterator[tuple[str, "list[Draw]"]]]

SHARED = Path(__file__).parents[2] / "shared"
V2 = str(SHARED / "backbones" / "mobilenet_v2_1.0_224")
TINY = "builtin:tiny-64"
HYMENOPTERA = str(SHARED / "datasets" / "hymenoptera")
FSDD = str(SHARED / "datasets" / "fsdd-spectrograms")
LABELLED, UNLABELLED, CHOSEN_BY, JUDGED = 300, 200, 50, 200
DRAWS = 5


@dataclass(frozen=True)
class Draw:
    """One draw: what is fitted on, what has no labels, what is judged on."""

    backbone: Backbone
    labelled: Domain
    unlabelled: Domain
    judged: Domain


def speakers(*, known: bool) -> Iterator[tuple[str, list[Draw]]]:
    """One speaker is the device; the labelled are those of the others, or of all six."""
    source = Source(FSDD, TINY)
    names = source.column("speaker")
    for name in np.unique(names):
        draws = []
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            theirs = rng.permutation(np.flatnonzero(names == name))
            aside, labelled = theirs[: UNLABELLED + CHOSEN_BY + JUDGED], np.arange(len(names))
            others = np.setdiff1d(labelled, aside if known else theirs)
            if known:  # a sixth of each speaker's, as many as are left of this one's
                others = np.concatenate(
                    [rng.permutation(others[names[others] == each])[:50] for each in set(names)]
                )
            labelled = rng.permutation(others)[:LABELLED]
            draws.append(_draw(source, source.plain, (labelled, aside), UNLABELLED))
        yield str(name), draws


def changed(
    source: Source, how: str | None, *, unlabelled: int = UNLABELLED, classes: int | None = None
) -> Iterator[tuple[str, list[Draw]]]:
    """Changed pictures are the device's; of the first classes only, where a number is given."""
    there = source.plain if how is None else source.changed(how)
    draws = []
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(source.truth))
        count = min(LABELLED, len(order) // 2)
        rest = order[count:]
        if classes is not None:
            rest = rest[source.truth[rest] < classes]
        most = min(unlabelled, len(rest) // 2)
        draws.append(_draw(source, there, (order[:count], rest), most))
    yield how or "unchanged", draws


def _draw(source: Source, there: Domain, rows: tuple[Array, Array], unlabelled: int) -> Draw:
    labelled, device = rows
    return Draw(
        source.backbone,
        source.plain.part(labelled),
        there.part(device[:unlabelled]),
        there.part(device[unlabelled:][: CHOSEN_BY + JUDGED]),
    )


def decide(draw: Draw, seed: int) -> tuple[dict[str, Array], dict[str, float]]:
    """Return what each method decides about the judged pictures, and the shift."""
    ours, theirs, judged = draw.labelled, draw.unlabelled, draw.judged

    def fit(rows: Array, weights: Array | None = None) -> LinearHead:
        known = Known(source=draw.backbone.classifier, weights=weights)
        return fit_probe(rows, ours.truth, known=known, seed=seed).head

    odds = domain_scores(ours.features, theirs.features, seed=seed)
    count = len(ours.truth)
    weights = weigh(odds[:count])
    plain = fit(ours.features)
    moved = fit_alignment(ours.features, theirs.features).move(ours.features)
    most = most_pictures(*ours.prepared.shape[2:])
    network = renormalise(
        draw.backbone.network,
        torch.from_numpy(ours.prepared[:most]),
        torch.from_numpy(theirs.prepared[:most]),
    )
    heads = {"none": plain, "reweight": fit(ours.features, weights.values), "align": fit(moved)}
    said = {name: head.logits(judged.features) for name, head in heads.items()}
    said["norms"] = plain.logits(run(network, judged.prepared))
    facts = {
        "auc": area(odds[count:], odds[:count]).auc,
        "effective_share": weights.effective / count,
    }
    return {name: logits.argmax(axis=1) for name, logits in said.items()}, facts


def row_of(case: str, devices: Iterator[tuple[str, list[Draw]]]) -> dict[str, Any]:
    """Judge all draws of all devices of a case."""
    rows = []
    for device, draws in devices:
        found = [judge(draw, seed) for seed, draw in enumerate(draws)]
        rows.append({"device": device, **{key: [each[key] for each in found] for key in found[0]}})
    several = len(rows) > 1
    summary: dict[str, Any] = {"case": case, "devices": len(rows), "draws": len(rows[0]["none"])}
    for key in ("none", "auc", "effective_share"):
        summary[key] = round(float(np.mean([np.mean(row[key]) for row in rows])), 4)
    for key in ("reweight", "align", "norms", "auto"):
        gains = [np.subtract(row[key], row["none"]) * 100 for row in rows]
        units = [float(each.mean()) for each in gains] if several else gains[0].tolist()
        half = float(t.ppf(0.975, len(units) - 1) * sem(units))
        summary[key] = {
            "gain_pp": round(float(np.mean(units)), 2),
            "half_width": round(half, 2),
            "lowest": round(min(units), 2),
        }
    summary["auto_took"] = [took for row in rows for took in row["took"]]
    return {**summary, "rows": rows}


def judge(draw: Draw, seed: int) -> dict[str, Any]:
    """Return the accuracy of every method on the judged pictures by which nothing was chosen."""
    decided, facts = decide(draw, seed)
    truth = draw.judged.truth
    first, rest = slice(0, CHOSEN_BY), slice(CHOSEN_BY, None)
    tried = {name: said[first] for name, said in decided.items() if name != "none"}
    best = choose_method(truth[first], decided["none"][first], tried, "top1")[0]
    took = best["method"] if best["taken"] else "none"
    right = {name: float((said[rest] == truth[rest]).mean()) for name, said in decided.items()}
    return {**right, "auto": right[took], "took": took, **facts, "judged": len(truth[rest])}


def _ants_and_bees(how: str) -> Iterator[tuple[str, list[Draw]]]:
    yield from changed(Source(HYMENOPTERA, V2), how)


def cases(folder: Path) -> dict[str, Made]:
    """Return what is judged, by name."""
    digits = str(folder / "digits")

    def written(how: str | None, unlabelled: int = UNLABELLED, classes: int | None = None) -> Made:
        def make() -> Iterator[tuple[str, list[Draw]]]:
            if not Path(digits).exists():
                write_digits(Path(digits))
            return changed(Source(digits, TINY), how, unlabelled=unlabelled, classes=classes)

        return make

    found: dict[str, Made] = {
        "spoken digits, a new speaker": lambda: speakers(known=False),
        "spoken digits, one of the speakers": lambda: speakers(known=True),
    }
    for how in MADE:
        found[f"digits, {how}"] = written(how)
    found["digits, unchanged"] = written(None)
    found["digits, unchanged, 20 unlabelled"] = written(None, unlabelled=20)
    found["digits, unchanged, 5 of 10 classes"] = written(None, classes=5)
    found["digits, darkened, 20 unlabelled"] = written("darkened", unlabelled=20)
    found["digits, darkened, 5 of 10 classes"] = written("darkened", classes=5)
    for how in MADE:
        found[f"ants and bees, {how}"] = partial(_ants_and_bees, how)
    return found


def main() -> None:
    """Judge all cases, or those named, and write the table as it grows."""
    result = Path(sys.argv[1] if len(sys.argv) > 1 else "domain.json")
    wanted = sys.argv[2:]
    rows = {}
    if wanted and result.is_file():
        rows = {row["case"]: row for row in json.loads(result.read_text())["rows"]}
    with tempfile.TemporaryDirectory() as folder:
        every = cases(Path(folder))
        for name, make in every.items():
            if wanted and not any(name.startswith(each) for each in wanted):
                continue
            rows[name] = row_of(name, make())
            shown = {key: value for key, value in rows[name].items() if key != "rows"}
            sys.stdout.write(f"{json.dumps(shown)}\n")
            sys.stdout.flush()
            record = {
                "environment": fingerprint(runtime_facts()),
                "rows": [rows[each] for each in every if each in rows],
            }
            result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
