"""Takes the heads out of a bundle, and makes the bundle that has others on the same backbone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.bundle.files import read_json, writing
from edgetransfer.bundle.opened import MEASURE, Bundle, open_bundle, refuse_other_outputs, seal
from edgetransfer.bundle.swap import bundle_lock, locked, replacing
from edgetransfer.errors import SpecError
from edgetransfer.export.onnx_bundle import CONFIG, TOKENIZER, BundleParts, write_bundle
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.bench.bench import golden_of, measuring_afresh, unlabelled_golden
from edgetransfer.pipeline.bench.judge import Bench, Question, finish, judge_bundle
from edgetransfer.pipeline.stage.store import scratch
from edgetransfer.pipeline.task import task_of
from edgetransfer.tasks.classification.judge.metrics import LOGITS
from edgetransfer.tasks.classification.ship.feature_statistics import head_facts
from edgetransfer.tasks.classification.ship.head_files import (
    STATISTICS,
    HeadTensors,
    backbone_digest,
    find_head,
    read_heads,
    read_statistics,
    spread_digest,
    with_head,
    write_heads,
    write_statistics,
)
from edgetransfer.transport.local import Local

if TYPE_CHECKING:
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.pipeline.stage.reporter import Reporter
    from edgetransfer.tasks.classification.head.new_class import FeatureStatistics


def facts_of_the_backbone(bundle: Bundle) -> dict[str, Any]:
    """Return what stays true of a bundle when it gets another head, and the digest of its base.

    How it was fitted, exported, proven, labelled and judged was told of other classes, and no rung
    was tried with its new head.
    """
    manifest = bundle.manifest
    whole = ("task", "target", "recipe", "session", "backbone", "seed", "versions")
    made_small = ("precision", "rung", "scheme", "calibration")
    compression = {k: v for k, v in manifest["compression"].items() if k in made_small}
    return {
        **{k: v for k, v in manifest.items() if k in whole},
        "compression": {**compression, "ladder": []},
        "base": manifest.get("base", {"core.onnx": bundle.digest("core.onnx")}),
    }


@dataclass(frozen=True)
class Networks:
    """The networks of a bundle: as it ships, and in float."""

    core: onnx.ModelProto
    reference: onnx.ModelProto

    @staticmethod
    def of(bundle: Bundle) -> Networks:
        """Read them."""
        return Networks(
            onnx.load(bundle.file("core.onnx")), onnx.load(bundle.file("reference.onnx"))
        )

    @property
    def digests(self) -> tuple[str, str]:
        """Digests of their backbones."""
        return backbone_digest(self.core), backbone_digest(self.reference)


def statistics_of(bundle: Bundle) -> FeatureStatistics | None:
    """Return what the bundle keeps of its features, None where it keeps nothing."""
    file = bundle.file(STATISTICS)
    return read_statistics(file) if file.is_file() else None


def heads_of(bundle: Bundle, networks: Networks) -> HeadTensors:
    """Return all of a bundle that depends on its classes.

    Raises:
        UnsupportedError: a network does not end in a linear head.
    """
    shipped = find_head(networks.core).head
    refuse_other_outputs(bundle, {LOGITS: shipped.bias.shape})
    return HeadTensors(
        bundle.labels,
        shipped,
        find_head(networks.reference).head,
        networks.digests,
        added=tuple(bundle.manifest.get("added", ())),
    ).with_statistics(statistics_of(bundle))


def export_heads(folder: Path, file: Path) -> tuple[HeadTensors, int]:
    """Write the heads of a bundle to a file, and return them with its bytes.

    Raises:
        UnsupportedError: a network does not end in a linear head.
    """
    bundle = open_bundle(folder)
    heads = heads_of(bundle, Networks.of(bundle))
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        return heads, write_heads(file, heads)


def apply_heads(folder: Path, file: Path, out: Path, reporter: Reporter) -> HeadTensors:
    """Make the bundle that has the heads of a file.

    Raises:
        IntegrityError: not a head file.
        SpecError: the heads are of another backbone, or `out` exists.
    """
    bundle, heads = open_bundle(folder), read_heads(file)
    refuse_to_overwrite(out)
    networks = Networks.of(bundle)
    here = networks.digests
    if heads.backbones != here:
        raise SpecError(
            "the head is of another backbone",
            where=str(file),
            found=f"a head for {_short(heads.backbones)}",
            expected=f"one for {_short(here)}, the backbone of {folder}",
            fix="export the head from a bundle of the same build and target",
        )
    rebuild(bundle, networks, heads, out, reporter)
    return heads


def _short(digests: tuple[str, str]) -> str:
    return " and ".join(each[:12] for each in digests)


def refuse_to_overwrite(out: Path) -> None:
    """Raise a SpecError where something is already."""
    if out.exists():
        raise SpecError(
            "exists already, and is not written over",
            where=f"--out {out}",
            fix="name another folder, or move that one away",
        )


def rebuild(
    bundle: Bundle, networks: Networks, heads: HeadTensors, out: Path, reporter: Reporter
) -> None:
    """Write the bundle that has these heads, with a report that says what was not measured."""
    prepare = preparer(bundle.preprocessing, bundle.file(TOKENIZER))
    old = {digest for each in bundle.manifest.get("added", ()) for digest in each["digests"]}
    fitted_on = bundle.fitted_on - old
    core = with_head(networks.core, heads.shipped)
    parts = BundleParts(
        reference=with_head(networks.reference, heads.reference),
        core=core,
        preprocessing=bundle.preprocessing,
        tokenizer=bundle.file(TOKENIZER) if bundle.file(TOKENIZER).is_file() else None,
        labels=heads.labels,
        golden=golden_of(bundle),
        fitted_on=fitted_on | {digest for each in heads.added for digest in each["digests"]},
        config=read_json(bundle.file(CONFIG)) if bundle.file(CONFIG).is_file() else None,
        target=bundle.target,
        outputs=task_of(bundle.recipe).usage.outputs,
        task=bundle.recipe.task,
    )
    facts = facts_of_the_backbone(bundle)
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    with locked(bundle_lock(out)), replacing(out) as place:
        partial = place.folder
        stored = write_bundle(partial, parts, prepare)
        statistics = _statistics(bundle, heads)
        if statistics is not None:
            write_statistics(partial / MEASURE / STATISTICS, statistics)
        made = seal(partial, {**facts, **head_facts(core), "added": list(heads.added), **stored})
        with scratch(partial) as room:
            _report(made, prepare, out, room, reporter)


def _statistics(bundle: Bundle, heads: HeadTensors) -> FeatureStatistics | None:
    """Return the means of the heads with the bundle's spread; None where it is not theirs."""
    kept = statistics_of(bundle)
    if kept is None or heads.means is None or heads.counts is None:
        return None
    if spread_digest(kept) != heads.spread:
        return None
    return replace(kept, means=heads.means, counts=heads.counts)


def _report(bundle: Bundle, prepare: Preparer, out: Path, room: Path, reporter: Reporter) -> None:
    """Write a report without accuracy or times: nothing of these classes was measured."""
    question = Question.of(bundle, unlabelled_golden(bundle), ())
    why_not = "nothing was measured of these classes yet"
    bench = Bench(measuring_afresh(room / "raw"), reporter, Local(), out, why_not=why_not)
    report = judge_bundle(bench, bundle, question, prepare)
    finish(bundle, report, question.thumbnails(report, prepare, built=False))
