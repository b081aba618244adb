"""What `make docs` adds to the pages of `docs/`: the reference, made from the code, and README.

mkdocs calls the functions that begin with ``on_`` (see `mkdocs.yml`). Nothing here is fetched.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

import edgetransfer
from edgetransfer import errors
from edgetransfer.cli import app as program
from edgetransfer.cli import commands
from edgetransfer.measure.verdict import WORST_FIRST, exit_code
from edgetransfer.pipeline.build import Outcome
from edgetransfer.pipeline.predict import LoadedModel, Prediction
from edgetransfer.spec import catalogue
from edgetransfer.spec.options import OPTIONS
from edgetransfer.spec.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"\n? *<!-- figures: .*? -->", re.DOTALL)
PROJECT = {"architecture": "ARCHITECTURE", "contributing": "CONTRIBUTING", "changelog": "CHANGELOG"}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
"""Of JSON Schema."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in `docs/`."""
    made = {
        "index.md": _moved(ROOT / "README.md", ""),
        "reference/commands.md": command_page(),
        "reference/recipe.md": recipe_page(),
        "reference/targets.md": target_page(),
        "reference/exit-codes.md": exit_page(),
        "reference/python.md": python_page(),
    }
    made |= {f"project/{to}.md": _moved(ROOT / f"{name}.md", "../") for to, name in PROJECT.items()}
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Take out what no reader sees: where the figures of a block were measured."""
    return MARKER.sub("", markdown)


def _moved(file: Path, up: str) -> str:
    """Return a page of the root as it is linked from a page of the site."""
    text = re.sub(r"\[docs/", "[", file.read_text(encoding="utf-8")).replace("](docs/", f"]({up}")
    for to, name in PROJECT.items():
        text = text.replace(f"]({name}.md", f"]({up}project/{to}.md")
    return text


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([*row] for row in rows)]
    return "\n".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in lines
    )


def command_page() -> str:
    """Return every command with its options, as typer's own generator writes them."""
    group = typer.main.get_command(commands.app)
    context = group.make_context("edgetransfer", [], resilient_parsing=True)
    made = get_docs_for_click(obj=group, ctx=context, name="edgetransfer")
    return made.replace("# `edgetransfer`\n", "# Commands\n", 1)


def recipe_page() -> str:
    """Return every field of a recipe."""
    schema = Recipe.model_json_schema()
    intro = (
        "# The recipe\n\nA TOML file for `--recipe`. Options on the command line win over it, "
        "`edgetransfer plan` shows what comes out. Only `source` of `[data]` has to be there.\n"
    )
    return "\n".join([intro, *_tables(schema, schema["$defs"], "At the top")])


def _tables(spec: Mapping[str, Any], defs: Mapping[str, Any], title: str) -> Iterator[str]:
    rows, below = [], []
    for name, field in spec["properties"].items():
        if "$ref" in field:
            below.append((defs[field["$ref"].rpartition("/")[2]], f"`[{name}]`"))
            continue
        option = field.get("option")
        spelled = f"`--{option.replace('_', '-')}`" if option else ""
        spelled = "`DATA`" if option == "data" else spelled
        default = field.get("default")
        shown = "" if default in (None, "", []) else f"`{_toml(default)}`"
        rows.append((f"`{name}`", _kind(field, defs), shown, spelled, field.get("description", "")))
    told = spec.get("description", "").split("\n")[0] if title != "At the top" else ""
    head = ("field", "type", "default", "option", "what it is")
    yield f"## {title}\n\n{told}\n\n{_table(head, rows)}\n"
    for each, name in below:
        yield from _tables(each, defs, name)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"')


def _kind(field: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Say in words what a field of a JSON Schema takes."""
    if "anyOf" in field:
        each = [_kind(one, defs) for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(each))
    if "$ref" in field:
        return _kind(defs[field["$ref"].rpartition("/")[2]], defs)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}), defs)}"
    if field.get("type") == "object":
        return f"table of {_kind(field.get('additionalProperties', {}), defs)}"
    limits = [f"{sign} {field[name]}" for name, sign in LIMITS.items() if name in field]
    return " ".join([field.get("type", "any"), *limits])


def target_page() -> str:
    """Return every target that is shipped."""
    rows, evidence = [], []
    for name in catalogue.names("targets"):
        spec = catalogue.target(name)
        runtime = f"{spec.runtime.name}, {spec.runtime.provider}" if spec.runtime else "its class's"
        reached = "-" if spec.export_only or not spec.reached else f"`{spec.reached}`"
        precision = "its class's" if spec.detect else spec.precision
        rows.append((f"`{name}`", spec.title, runtime, precision, reached))
        evidence.append((f"`{name}`", spec.evidence.status, spec.evidence.source))
    head = ("target", "what it is", "runtime, provider", "precision", "`bench --on`")
    return (
        "# Targets\n\n`edgetransfer targets NAME` shows one in full. *Declared* means that we "
        f"have not run it there yet. A target of your own is a TOML file.\n\n{_table(head, rows)}\n"
        "\n## Where what they say comes from\n\n"
        f"{_table(('target', 'evidence', 'source'), evidence)}\n"
    )


def python_page() -> str:
    """Return the functions of the package, and what they return, from their docstrings."""
    functions = [(name, getattr(edgetransfer, name)) for name in edgetransfer.__all__]
    intro = (
        "# Python\n\nWhat `import edgetransfer` offers. [Python](../python.md) shows how it is "
        "used; errors are those of [Exit codes](exit-codes.md).\n"
    )
    told = []
    for name, each in functions:
        told.append(_described(f"edgetransfer.{name}", each))
        taken = [option for option in inspect.signature(each).parameters if option in OPTIONS]
        if "reporter" in inspect.signature(each).parameters:
            rows = [f"* `{option}`: {OPTIONS[option].help}" for option in taken]
            told.append("\n".join(["**Options**\n", *rows, ""]))
    told += ["## What they return\n"]
    for kind in (Outcome, LoadedModel, Prediction):
        told.append(_described(kind.__name__, kind, "###", signature=False))
        methods = {k: v for k, v in vars(kind).items() if inspect.isfunction(v) and k[0] != "_"}
        told += [_described(f"{kind.__name__}.{k}", v, "####") for k, v in methods.items()]
    return "\n".join([intro, *told])


def _described(
    name: str, of: Callable[..., Any], head: str = "##", *, signature: bool = True
) -> str:
    """Return heading, signature and docstring: sections of Google's style become lists."""
    text, *sections = re.split(
        r"^(Args|Attributes|Raises):\n", inspect.getdoc(of) or "", flags=re.M
    )
    parts = [f"{head} `{name}`\n", _rst(text)]
    if signature:
        parts.insert(1, f"```python\n{_signature(name, of)}\n```\n")
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        items = re.findall(r"^ {4}([\w ]+): ((?:.+\n?)(?:^ {5,}.+\n?)*)", body, flags=re.M)
        rows = [f"* `{item}`: {_rst(' '.join(what.split()))}" for item, what in items]
        parts.append("\n".join([f"**{title}**\n", *rows, ""]))
    return "\n".join(parts)


def _rst(text: str) -> str:
    return text.replace("``", "`")


def _signature(name: str, of: Callable[..., Any]) -> str:
    """Return a parameter a line, with types as they are written and defaults."""
    lines, starred = [], False
    for each in inspect.signature(of).parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and not starred:
            lines, starred = [*lines, "    *,"], True
        kind = each.annotation if isinstance(each.annotation, str) else _written(each.annotation)
        default = "" if each.default is each.empty else f" = {each.default!r}"
        lines.append(f"    {each.name}: {kind}{default},")
    gives = inspect.signature(of).return_annotation
    return "\n".join(
        [f"{name}(", *lines, f") -> {gives if isinstance(gives, str) else _written(gives)}"]
    )


def _written(kind: object) -> str:
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    return re.sub(r"\b(collections\.abc|typing|pathlib)\.", "", text)


def exit_page() -> str:
    """Return every exit code with the errors behind it."""
    kinds = [errors.EdgeTransferError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    rows = [
        (each.exit_code, f"`{each.__name__}`", (each.__doc__ or "").split("\n")[0])
        for each in kinds[1:]
    ]
    for strict, how in ((False, ""), (True, ", with `--strict`")):
        ends: dict[int, list[str]] = {}
        for each in reversed(WORST_FIRST):
            ends.setdefault(exit_code(each, strict=strict), []).append(each)
        rows += [
            (code, "", f"The verdict is {' or '.join(names)}{how}.") for code, names in ends.items()
        ]
    rows += [
        (2, "", "The command line cannot be read: an unknown command or option."),
        (program.STOPPED, "", "Stopped by Ctrl-C; the same command goes on from the last stage."),
    ]
    told = ((str(code), name, what) for code, name, what in sorted(rows))
    return (
        "# Exit codes\n\nEach error is one message: where, what was found, what was expected, and "
        "what to do. Python raises the same errors, from `edgetransfer.errors`. Which verdict ends "
        f"on which code, [Verdicts and budgets](../budgets.md#exit-codes) says.\n\n"
        f"{_table(('exit code', 'error', 'meaning'), told)}\n"
    )
