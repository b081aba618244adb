"""Reads the examples that a class is added from, and those that this is checked with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgetransfer.data.decode import decode
from edgetransfer.data.digests import picture_digest, text_digest
from edgetransfer.data.queries import asked_about
from edgetransfer.data.sources import load
from edgetransfer.errors import DataError, SpecError
from edgetransfer.measure.sample import draw
from edgetransfer.pipeline.bench.bench import golden_of, read_new, refuse_other_kind
from edgetransfer.spec.progress import silent

if TYPE_CHECKING:
    from edgetransfer.bundle.opened import Bundle
    from edgetransfer.data.manifest import Example
    from edgetransfer.spec.recipe import DataSpec


def refuse_name(bundle: Bundle, name: str) -> None:
    """Refuse what is no name of a new class.

    Raises:
        SpecError: it is not one line, or a class of the bundle.
    """
    if name in bundle.labels:
        raise SpecError(
            "the bundle has this class already",
            where="NAME",
            found=repr(name),
            fix="name another class; to fit this one again, build again",
        )
    if not name.strip() or len(name.splitlines()) > 1:
        raise SpecError(
            "not a name of a class", where="NAME", found=repr(name), expected="one line of text"
        )


def examples_of(bundle: Bundle, name: str, inputs: Sequence[str]) -> tuple[Example, ...]:
    """Read the examples of a new class, each content once.

    Raises:
        DataError: some cannot be read, all are named; there is none; or the bundle knows some.
    """
    found, problems = {}, []
    for asked in asked_about(inputs, bundle.preprocessing.kind):
        try:
            if asked.example is None:
                problems.append(str(asked.problem))
                continue
            digest = _digest_of(asked.example)
        except DataError as error:
            problems.append(str(error))
            continue
        found[digest] = replace(asked.example, label=name, split="train", digest=digest)
    if problems:
        raise DataError("\n".join(problems))
    if not found:
        raise DataError("there are no examples of the new class", where=name)
    again = bundle.fitted_on & set(found)
    if again:
        raise DataError(
            "examples of the new class are among those that the bundle was fitted on",
            where=", ".join(found[digest].key for digest in sorted(again)),
            fix="leave them out, or build again with the classes parted as they should be",
        )
    return tuple(found.values())


def _digest_of(example: Example) -> str:
    if example.path is None:
        return text_digest(example.text or "")
    return picture_digest(decode(example.path))


def training_examples(bundle: Bundle, data: DataSpec | None) -> tuple[Example, ...]:
    """Read training examples of the classes of a bundle that keeps no statistics.

    Raises:
        DataError: there is no data, or it has not some of each class, and two of one.
    """
    if data is None:
        raise DataError(
            "the bundle keeps nothing of the features of its classes",
            where=str(bundle.folder),
            fix="give labelled examples of the old classes: --data DATA",
        )
    manifest = load(data, seed=0)
    refuse_other_kind(bundle, manifest, data)
    found = tuple(each for each in manifest.split("train") if each.label in bundle.labels)
    counts = Counter(each.label for each in found)
    lacking = [label for label in bundle.labels if not counts[label]]
    if lacking or max(counts.values()) < 2:
        raise DataError(
            "the data has too few training examples of old classes",
            where=data.source,
            found="none of " + ", ".join(lacking[:10]) if lacking else "one of each",
            expected="some of each class, and two of one at least",
        )
    return found


def examples_to_check(
    bundle: Bundle, data: DataSpec | None, name: str, used: Collection[str]
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Return labelled examples of the old classes and the new one, and warnings about them.

    Without data the golden ones are taken; those `used` by digest to fit the head are left out.

    Raises:
        DataError: they cannot be read, are of other classes, or none is of an old class.
    """
    given: Sequence[Example] = ()
    notes: tuple[str, ...] = ()
    if data is None:
        given = golden_of(bundle)
    else:
        manifest = read_new(bundle, data, (*bundle.labels, name), silent)
        every = manifest.examples
        places, sample = draw(
            [each.digest for each in every], [each.label for each in every], bundle.fitted_on
        )
        given, notes = [every[i] for i in places], (*manifest.notes, *sample.told())
    kept = tuple(each for each in given if each.label is not None and each.digest not in used)
    if not any(each.label in bundle.labels for each in kept):
        raise DataError(
            "there is no labelled example of an old class to check with",
            where="the golden examples" if data is None else data.source,
            fix="give some: --data DATA",
        )
    return kept, notes
