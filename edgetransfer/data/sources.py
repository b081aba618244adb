"""From what the user named to a `Manifest`: find, read, check, split.

`load` tells what all functions here raise.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from edgetransfer.data import checks, digests, split
from edgetransfer.data.digests import add_digests, file_digests
from edgetransfer.data.folders import read_folder
from edgetransfer.data.locate import locate
from edgetransfer.data.manifest import Example, Manifest, count, sort_labels
from edgetransfer.data.rows import read_tables
from edgetransfer.spec.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.data.manifest import RawData, Record
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.recipe import DataSpec

_VERSION = 1
"""Raised when the same files would give another manifest than before."""


def load(
    spec: DataSpec, *, seed: int, fitted: bool = False, progress: Progress = silent
) -> Manifest:
    """Read a labelled data set and give every example its role.

    Given splits are kept; missing ones are carved (see `split`). The test set is never altered:
    duplicates of its examples leave the other splits (see `digests`). Where the model comes fitted,
    labels only judge it.

    Raises:
        DataError: not readable or not sound; all problems in one message.
        SpecError: a column that was asked for does not exist.
        MissingExtraError: Parquet without pyarrow.
    """
    reading = _read(spec, labels_optional=False)
    where = _where(reading)
    records, unreadable = add_digests(reading.records, progress)
    shallow, depth_notes = checks.depth_problems(records)
    records, role_notes = split.name_roles(records)
    records, dropped, drop_notes = digests.drop_duplicates(records)
    carved = split.shares_to_carve(records, fitted=fitted)
    problems = [] if fitted else checks.class_problems(records, carved)
    if problems:
        problems += drop_notes  # which may be why a class is short of examples
    checks.raise_if([*reading.problems, *unreadable, *shallow, *problems], where)
    records, carve_notes = split.carve(records, seed=seed, split_by=spec.split_by, fitted=fitted)
    # Keeping a group together may have torn equal contents of two groups apart.
    records, dropped_now, drop_notes_now = digests.drop_duplicates(records)
    checks.raise_if([] if fitted else checks.class_problems(records, ()), where)
    labels = sort_labels(r.label for r in records if r.label is not None)
    across = split.across_note(records, spec.split_by) if spec.split_by else None
    notes = [
        *reading.notes,
        *depth_notes,
        *role_notes,
        *drop_notes,
        *carve_notes,
        *drop_notes_now,
        *([across] if across else []),
        *digests.repeat_notes(records),
        *checks.absence_notes(records, labels),
        *checks.spelling_notes(labels),
    ]
    found = _manifest(reading, records, labels, notes, dropped + dropped_now)
    return replace(found, carved="validation" in carved)


def load_for_evaluation(
    spec: DataSpec, *, labels: tuple[str, ...] | None, progress: Progress = silent
) -> Manifest:
    """Read new data, all of it as "test"; labels may be missing.

    Where the data has splits, only its test set is read (its validation set, if it has no test
    set): the rest may be what the model was fitted on. `labels` are the classes that the model
    knows, in its order, and no others may be there; without them those in the data are taken.
    """
    reading = _read(spec, labels_optional=True)
    records, split_notes = _judged(reading.records)
    records, unreadable = add_digests(records, progress)
    shallow, depth_notes = checks.depth_problems(records)
    problems = [*reading.problems, *unreadable, *shallow]
    if labels is not None:
        problems += checks.unknown_label_problems(records, labels)
    checks.raise_if(problems, _where(reading))
    if labels is None:
        labels = sort_labels(r.label for r in records if r.label is not None)
    notes = [*reading.notes, *depth_notes, *split_notes, *digests.repeat_notes(records)]
    return _manifest(reading, records, labels, notes, {})


def fingerprint(spec: DataSpec) -> str:
    """sha256 (hex) over all that `load` reads: files with their names, the place, the spec.

    Two equal fingerprints with equal seeds give equal manifests. Pictures are hashed as files,
    not decoded. What `load` refuses may pass here.
    """
    reading = _read(spec, labels_optional=False)
    paths = [*reading.tables, *dict.fromkeys(reading.files)]
    names = [os.path.relpath(path, reading.root) for path in paths]
    content = {
        "version": _VERSION,
        "spec": spec.model_dump(mode="json"),
        "root": str(reading.root),
        "files": list(zip(names, file_digests(paths), strict=True)),
        # So that an empty folder, which holds no file, changes the result as well.
        "problems": reading.problems,
        "notes": reading.notes,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(spec: DataSpec, *, labels_optional: bool) -> RawData:
    located = locate(spec.source)
    read = read_tables if located.tables else read_folder
    return read(located, spec, labels_optional=labels_optional)


def _where(reading: RawData) -> str:
    """Return what an error names: the one table, or the folder."""
    return str(reading.tables[0] if len(reading.tables) == 1 else reading.root)


def _judged(records: tuple[Record, ...]) -> tuple[tuple[Record, ...], list[str]]:
    chosen, notes = records, []
    for name in ("test", "validation"):
        part = tuple(r for r in records if r.split == name)
        if part:
            rest = len(records) - len(part)
            if rest:
                notes.append(f"only the {name} set is read, {count(rest, 'example')} left out")
            chosen = part
            break
    return tuple(replace(r, split="test") for r in chosen), notes


def _manifest(
    reading: RawData,
    records: tuple[Record, ...],
    labels: tuple[str, ...],
    notes: list[str],
    dropped: Mapping[str, int],
) -> Manifest:
    examples = tuple(
        Example(r.key, r.path, r.text, r.label, r.split, r.metadata, r.digest)
        for r in records
        if r.split is not None
    )
    return Manifest(
        reading.modality, examples, labels, str(reading.root), tuple(notes), dict(dropped)
    )
