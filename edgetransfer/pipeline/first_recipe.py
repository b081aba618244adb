"""Writes a recipe to begin with: what a look at the data found, and every option with its help."""

from __future__ import annotations

import functools
import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from edgetransfer.bundle.files import writing
from edgetransfer.data.locate import locate
from edgetransfer.data.manifest import SPLITS, Manifest
from edgetransfer.data.tables import assign_roles, read_table
from edgetransfer.errors import SpecError
from edgetransfer.measure.stats.paired import Pairs, examples_needed, is_under
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.spec.options import OPTIONS, TYPES
from edgetransfer.spec.outside import printable
from edgetransfer.spec.recipe import PLACES, BackboneSpec, DataSpec, Recipe

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run

_LISTED = 30
_WRITTEN = ("data", "target", "backbone", "max_drop")


@dataclass(frozen=True)
class FirstRecipe:
    """A recipe to begin with, and lines: what was seen in the data, and what may be wrong there."""

    recipe: Recipe
    seen: tuple[str, ...]
    warnings: tuple[str, ...]

    def text(self, file: Path) -> str:
        """Return TOML: what is asked for as it is, and every other option as a comment."""
        notes = [*self.seen, *(["", "Warnings:"] if self.warnings else []), *self.warnings]
        head = [f"edgetransfer build --recipe {shlex.quote(str(file))}", "", *notes, "", _HOW]
        lines = [f"# {printable(line).replace(chr(10), ' ')}".rstrip() for line in head]
        usual = Recipe(data=DataSpec(source=self.recipe.data.source))
        values, defaults = (each.model_dump(mode="json") for each in (self.recipe, usual))
        for table in dict.fromkeys(place[:-1] for place in sorted(PLACES.values(), key=len)):
            lines += ["", f"[{'.'.join(table)}]"] if table else [""]
            for option, place in PLACES.items():
                if place[:-1] == table:
                    value, default = (
                        functools.reduce(getitem, place, v) for v in (values, defaults)
                    )
                    on = option in _WRITTEN or value != default
                    lines += [f"# {_help(option)}", ("" if on else "# ") + _entry(option, value)]
        return "\n".join(lines) + "\n"


_HOW = "A line that begins with # is off: take the sign away, and give a value, to set it."


def _help(option: str) -> str:
    kinds = TYPES[option], *get_args(TYPES[option])
    words = (f" One of {', '.join(get_args(k))}." for k in kinds if get_origin(k) is Literal)
    return OPTIONS[option].help + "".join(words)


def _entry(option: str, value: object) -> str:
    """Return one line of TOML; what is not set shows what would stand there."""
    name = PLACES[option][-1]
    if value is None:
        return f"{name} = {OPTIONS[option].metavar or '...'}"
    if isinstance(value, Mapping):
        pairs = (f"{_toml(key)} = {_toml(held)}" for key, held in value.items())
        return f"{name} = {{{', '.join(pairs)}}}"
    return f"{name} = {_toml(value)}"


def _toml(value: object) -> str:
    r"""Write a text, number, truth or list, all of which TOML has as JSON has them.

    >>> _toml(["a\\b", "\x7f"]), _toml(True)
    ('["a\\\\b", "\\u007f"]', 'true')
    """
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def look(run: Run) -> FirstRecipe:
    """Read the data of a run, and return a recipe for them; all that `build` needs is in it."""
    recipe, manifest = run.recipe, read_data(run)
    located = locate(recipe.data.source)
    if located.tables:
        roles = assign_roles(read_table(located.tables[0].path), recipe.data, needs_label=True)
        named = {"label_column": roles.label, manifest.input.column: roles.content}
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=named)})
    if recipe.backbone == BackboneSpec():
        first = BackboneSpec(source=manifest.input.backbone)
        recipe = recipe.model_copy(update={"backbone": first})
    return FirstRecipe(recipe, tuple(_seen(manifest)), tuple(_warnings(manifest, recipe)))


def _seen(manifest: Manifest) -> Iterator[str]:
    examples, noun = manifest.examples, manifest.input.noun
    splits = ", ".join(f"{len(manifest.split(split)):,} {split}" for split in SPLITS)
    yield f"{len(examples):,} {noun}s: {splits}"
    counts = Counter(each.label for each in examples)
    if len(counts) < len(examples) / 2:
        yield f"{len(manifest.labels):,} labels:"
        for label, number in counts.most_common(_LISTED):
            yield f"{number:8,}  {label}"
        if len(counts) > _LISTED:
            yield f"and {len(counts) - _LISTED:,} more"


def _warnings(manifest: Manifest, recipe: Recipe) -> Iterator[str]:
    yield from manifest.notes
    judged, limit = len(manifest.split("test")), recipe.budget.max_drop_pp
    if judged and not is_under(limit / 100, Pairs(0, 0, judged)):
        needed = examples_needed(limit / 100, Pairs(0, 0, judged))
        yield (
            f"{judged} test examples cannot show that quantising costs less than {limit:g} points: "
            f"{needed} would, without a changed decision"
        )


def write(found: FirstRecipe, file: Path) -> None:
    """Write a recipe into a file; SpecError where there is one, which is left as it is."""
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file.open("x", encoding="utf-8") as opened:
                opened.write(found.text(file))
        except FileExistsError as error:
            raise already(file) from error


def already(file: Path) -> SpecError:
    """Say that a file stands there, which is not written over."""
    return SpecError(
        "is there already, and is not written over",
        where=str(file),
        fix="name another file with --out, or build with this one: "
        f"edgetransfer build --recipe {file}",
    )
