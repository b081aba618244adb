"""From what the user named to a `Manifest`: find, read, check, split.

What a label is, and whether labels are sound enough to fit, choose and judge on, the rules of a
task say. All problems come in one error. `load` tells what all functions here raise.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from edgetransfer.data import digests, split
from edgetransfer.data.decode import brightest_of_16_bits
from edgetransfer.data.digests import add_digests, file_digests
from edgetransfer.data.folders import read_folder
from edgetransfer.data.locate import locate
from edgetransfer.data.manifest import Example, Manifest, RawData, count
from edgetransfer.data.rows import read_tables
from edgetransfer.errors import DataError
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgetransfer.data.labels import LabelRules
    from edgetransfer.spec.recipe import DataSpec

SHOWN = 20
Records = tuple[Example, ...]


def load(
    spec: DataSpec,
    rules: LabelRules,
    *,
    seed: int,
    fitted: bool = False,
    progress: Progress = silent,
) -> Manifest:
    """Read a labelled data set and give every example its role.

    Given splits are kept; missing ones are carved (see `split`). The test set is never altered:
    duplicates of its examples leave the other splits (see `digests`). Where the model comes fitted,
    labels only judge it. Raises DataError of data that are not readable or not sound, all problems
    in one; SpecError of a column that does not exist; MissingExtraError of Parquet without pyarrow.
    """
    reading = _read(spec, rules, labels_optional=False)
    where = _where(reading)
    records, unreadable = add_digests(reading.records, progress)
    shallow, depth_notes = depth_problems(records)
    records, role_notes = split.name_roles(records)
    records, dropped, drop_notes = digests.drop_duplicates(records)
    carved = split.shares_to_carve(records, fitted=fitted)
    problems = [] if fitted else rules.problems(records, carved)
    if problems:
        problems += drop_notes  # which may be why some are too few
    raise_if([*reading.problems, *unreadable, *shallow, *problems], where)
    records, carve_notes = split.carve(
        records, rules, seed=seed, split_by=spec.split_by, fitted=fitted
    )
    # Keeping a group together may have torn equal contents of two groups apart.
    records, dropped_now, drop_notes_now = digests.drop_duplicates(records)
    raise_if([] if fitted else rules.problems(records, ()), where)
    labels = rules.names(r.label for r in records if r.label is not None)
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
        *rules.notes(records, labels),
    ]
    found = _manifest(reading, records, labels, notes, dropped + dropped_now)
    return replace(found, carved="validation" in carved)


def load_for_evaluation(
    spec: DataSpec, rules: LabelRules, *, progress: Progress = silent
) -> Manifest:
    """Read new data, all of it as "test"; labels may be missing.

    Where the data has splits, only its test set is read (its validation set, if it has no test
    set): the rest may be what the model was fitted on.
    """
    reading = _read(spec, rules, labels_optional=True)
    records, split_notes = _judged(reading.records)
    records, unreadable = add_digests(records, progress)
    shallow, depth_notes = depth_problems(records)
    raise_if([*reading.problems, *unreadable, *shallow], _where(reading))
    labels = rules.names(r.label for r in records if r.label is not None)
    notes = [*reading.notes, *depth_notes, *split_notes, *digests.repeat_notes(records)]
    return _manifest(reading, records, labels, notes, {})


def fingerprint(spec: DataSpec, rules: LabelRules) -> str:
    """sha256 (hex) over all that `load` reads: files with their names, the place, the spec.

    Two equal fingerprints with equal seeds give equal manifests. Pictures are hashed as files,
    not decoded. What `load` refuses may pass here.
    """
    reading = _read(spec, rules, labels_optional=False)
    paths = [*reading.tables, *dict.fromkeys(reading.files)]
    names = [os.path.relpath(path, reading.root) for path in paths]
    content = {
        "spec": spec.model_dump(mode="json"),
        "root": str(reading.root),
        "files": list(zip(names, file_digests(paths), strict=True)),
        # So that an empty folder, which holds no file, changes the result as well.
        "problems": reading.problems,
        "notes": reading.notes,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(spec: DataSpec, rules: LabelRules, *, labels_optional: bool) -> RawData:
    located = locate(spec.source)
    read = read_tables if located.tables else read_folder
    return read(located, spec, rules, labels_optional=labels_optional)


def _where(reading: RawData) -> str:
    """Return what an error names: the one table, or the folder."""
    return str(reading.tables[0] if len(reading.tables) == 1 else reading.root)


def _judged(records: Records) -> tuple[Records, list[str]]:
    given = {r.split for r in records}
    name = next((each for each in ("test", "validation") if each in given), None)
    chosen = tuple(replace(r, split="test") for r in records if name is None or r.split == name)
    rest = count(len(records) - len(chosen), "example")
    left_out = f"only the {name} set is read, {rest} left out"
    return chosen, [left_out] if len(chosen) < len(records) else []


def _manifest(
    reading: RawData,
    records: Records,
    labels: tuple[str, ...],
    notes: list[str],
    dropped: Mapping[str, int],
) -> Manifest:
    root, examples = str(reading.root), tuple(each for each in records if each.split is not None)
    return Manifest(reading.modality, examples, labels, root, tuple(notes), dict(dropped))


def raise_if(problems: Sequence[str], where: str) -> None:
    """Raise one DataError for all problems, if there are any; at most `SHOWN` are listed."""
    if not problems:
        return
    lines = [f"{count(len(problems), 'problem')} in the data"]
    lines += [f"  - {problem}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  and {len(problems) - SHOWN:,} more")
    raise DataError("\n".join(lines), where=where, fix="correct the data and start again")


_SHALLOW = 1 << 12
"""Values of a 16-bit picture below this leave 17 grey levels or fewer of 256."""


def depth_problems(records: Records) -> tuple[list[str], list[str]]:
    """Return problems that stop a build, and notes, of 16-bit grey pictures that turn black.

    They use the lower part of their range only, and 16 bits are scaled by 255 / 65535, for every
    picture alike and on the device too. What fills 10 or 12 of the 16 bits must be scaled where it
    is saved, for what is right for one picture (its own maximum) is wrong for the next.
    """
    number, brightest = brightest_of_16_bits([r.path for r in records if r.path is not None])
    if not number or brightest > 2 * _SHALLOW:
        return [], []
    levels = brightest * 255 // 65535 + 1
    told = (
        f"{count(number, '16-bit picture')} of which the brightest value is {brightest:,} of "
        f"65,535: {count(levels, 'grey level')} of 256 would be left"
    )
    if brightest < _SHALLOW:
        top = 1 << max(8, brightest.bit_length())
        return [
            f"{told}; save them with 8 bits, as value * 255 / {top - 1:,}, and on the device too"
        ], []
    return [], [told]
