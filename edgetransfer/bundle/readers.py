"""Reads the files of a bundle: one function for each kind, each within limits and of a known form.

What it returns are plain JSON values that fit their form in `forms`: readers may index what is
required there and compute with it. What does not fit raises the error of the kind, an
`IntegrityError` of our own files, that names every such field.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetransfer.bundle import forms
from edgetransfer.bundle.report_form import ReportForm
from edgetransfer.errors import IntegrityError
from edgetransfer.spec import tasks
from edgetransfer.spec.outside import KIB, MIB, Kind, json_of, shortened, text_of, validated
from edgetransfer.spec.preprocess import PREPROCESSING, ImagePreprocessing, TextPreprocessing

_OURS = Kind(
    "",
    64 * MIB,
    IntegrityError,
    expected="as `edgetransfer build` wrote it",
    fix="build it again, or copy the bundle again",
)
MANIFEST = replace(_OURS, called="manifest")
REPORT = replace(_OURS, called="report")
CONTRACT = replace(_OURS, called="contract", most=64 * KIB)
GOLDEN = replace(_OURS, called="list of golden examples")
LABELS = replace(_OURS, called="list of labels", most=16 * MIB)
FITTED_ON = replace(_OURS, called="list of digests", most=1024 * MIB)
PORTABILITY = Kind(
    "record of portability",
    MIB,
    expected="as `edgetransfer bench` wrote it",
    fix="delete the file: the next bench begins a new one",
)


def _form(
    path: Path, form: type[forms.Form], kind: Kind, schema: str, *older: str
) -> dict[str, Any]:
    value: dict[str, Any] = json_of(path, kind)
    found = value.get("schema") if isinstance(value, dict) else value
    if found not in (schema, *older):
        what = f"a {kind.called} of another kind"
        raise IntegrityError(what, where=str(path), found=shortened(found), expected=repr(schema))
    validated(form, value, path, kind)
    return value


def read_manifest(path: Path) -> dict[str, Any]:
    """Read ``manifest.json``."""
    return _form(path, forms.ManifestForm, MANIFEST, "edgetransfer.bundle/1")


def read_report(path: Path) -> dict[str, Any]:
    """Read ``report.json``: its own form, then that of its task's blocks.

    In version 1 every report was one of classification, and did not say so.
    """
    found = _form(path, ReportForm, REPORT, "edgetransfer.report/2", "edgetransfer.report/1")
    found.setdefault("task", tasks.CLASSIFICATION)
    if found["task"] not in tasks.TASKS:
        raise REPORT.fault("a task that this version does not know", path, repr(found["task"]))
    validated(tasks.load(found["task"]).report_form, found, path, REPORT)
    return found


def read_golden(path: Path) -> list[dict[str, Any]]:
    """Read ``golden/index.json`` and return its cases."""
    schemas = "edgetransfer.golden/2", "edgetransfer.golden/1"
    cases: list[dict[str, Any]] = _form(path, forms.GoldenForm, GOLDEN, *schemas)["cases"]
    for case in cases:
        for side in ("core", "reference"):
            if side not in case:
                case[side] = {"logits": case.pop(f"{side}_logits")}
    return cases


def read_portability(path: Path) -> dict[str, Any]:
    """Read ``portability.json``; nothing where it is not there."""
    if not os.path.lexists(path):
        return {}
    return _form(path, forms.PortabilityForm, PORTABILITY, "edgetransfer.portability/1")


def read_contract(path: Path, kind: Kind = CONTRACT) -> ImagePreprocessing | TextPreprocessing:
    """Read ``preprocess.json``."""
    return validated(PREPROCESSING, json_of(path, kind), path, kind)


def read_labels(path: Path, kind: Kind = LABELS) -> tuple[str, ...]:
    """Read ``labels.txt``: a name a line, of classes in the order of the outputs.

    A byte order mark and Windows' ends of lines do no harm, and are taken off. A blank line, or two
    of the same name, raise the error of the kind.
    """
    lines = text_of(path, kind).replace("\r\n", "\n").rstrip("\n").split("\n")
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise kind.fault("a class without a name", f"{path} line {number}")
        first = seen.setdefault(unicodedata.normalize("NFC", line), number)
        if first != number:
            found = f"lines {first} and {number}: {line[:80]!r}"
            raise kind.fault("two classes of one name", path, found)
    return tuple(lines)


def read_digests(path: Path) -> set[str]:
    """Read ``fitted_on.txt``: a digest a line."""
    return set(text_of(path, FITTED_ON).split())
