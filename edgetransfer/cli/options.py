"""How options stand in a command: a recipe's are taken by name, the others are written here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetransfer.errors import SpecError
from edgetransfer.spec.options import AUTO, OPTIONS, RUN, TYPES, takes_many
from edgetransfer.spec.tasks import TASKS

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.store import Store
    from edgetransfer.spec.catalogue import Kind


def _offering(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    def offer(incomplete: str) -> list[str]:
        return [each for each in names() if each.startswith(incomplete)]

    return offer


def _listed(kind: Kind) -> list[str]:
    from edgetransfer.spec.catalogue import names

    return names(kind)


def _places() -> list[str]:
    emulated = [f"qemu:{name}" for name in _listed("targets/previews")]
    return ["local", "browser", "ssh:", "adb:", *emulated]


def _kits() -> list[str]:
    here = Path(__file__).parent.parent / "kits" / "files"
    return sorted(each.name for each in here.iterdir() if (each / "README.md.j2").is_file())


def _backbones() -> list[str]:
    weights = Path(__file__).parent.parent / "backbone" / "weights"  # its reader takes a second
    own = sorted(card.parent.name for card in weights.glob("*/card.json"))
    return [AUTO, *(f"builtin:{name}" for name in own), "hf:", "timm:"]


offer_targets, offer_places = _offering(lambda: _listed("targets")), _offering(_places)
offer_backbones = _offering(_backbones)
offer_kits = _offering(_kits)
_OFFERED = {
    **dict.fromkeys(("target", "as_target"), offer_targets),
    **dict.fromkeys(("backbone", "candidate", "distill_from"), offer_backbones),
    "on": offer_places,
    "task": _offering(lambda: TASKS),
    "calibration": _offering(lambda: _listed("calibration/recipes")),
}
"""What a shell completes values by, without torch: what begins so."""
Asked = dict[str, Any]
"""The options of a recipe, or of a measurement, that a command takes, by name; None: not given."""
Bundle = Annotated[Path, typer.Argument(help="A folder that `build` wrote: OUT/TARGET.")]
_run = functools.partial(typer.Option, rich_help_panel=RUN)
_matrix = functools.partial(typer.Option, rich_help_panel="Matrix")
Out = Annotated[Path, _run(help="Where the bundles go.")]
RecipeFile = Annotated[
    Path | None,
    _run(
        "--recipe",
        metavar="FILE",
        help="TOML file with options; those of the command line take precedence.",
    ),
]
Processes = Annotated[
    int | None, _run(min=1, help="Number of processes that the launcher must have started.")
]
Cache = Annotated[Path | None, _run(help="Where finished stages are kept.")]
Json = Annotated[bool, _run("--json", help="Print JSON.")]
Quiet = Annotated[bool, _run("--quiet", "-q", help="No progress; one line for a verdict.")]
Strict = Annotated[
    bool,
    _run(
        "--strict",
        help="Exit 0 only for a PASS without warnings; INCONCLUSIVE is 10, UNVERIFIED 11.",
    ),
]
Markdown = Annotated[
    Path | None, _run("--markdown", metavar="FILE", help="Write verdicts and checks as Markdown.")
]
Junit = Annotated[
    Path | None,
    _run("--junit", metavar="FILE", help="Write a test case for each check, as JUnit does."),
]
VerifyOn = Annotated[
    str | None,
    _run(
        "--verify-on",
        metavar="WHERE",
        help="Where to measure what this machine cannot verify: qemu:arm64, ssh:HOST.",
        autocompletion=offer_places,
    ),
]
Ranked = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        help="What to rank; repeatable. Default: all built-in ones.",
        autocompletion=offer_backbones,
    ),
]
Backbones = Annotated[
    list[str] | None,
    _matrix("--backbone", help="What `build` takes; repeatable.", autocompletion=offer_backbones),
]
Seeds = Annotated[str, _matrix(help="Of splits and fits: a list with commas.")]
Ray = Annotated[
    str | None,
    _matrix(
        metavar="ADDRESS", help="Fit and compress cells at once there: an address, auto, or local."
    ),
]
Cores = Annotated[int, _matrix(min=1, help="Threads a cell is fitted with.")]
Ways = Annotated[int, typer.Option(min=2, help="Classes of an episode.")]
Queries = Annotated[int, typer.Option(min=1, help="Examples a class to judge by.")]


def asks(*names: str, required: bool = False) -> Callable[[Callable[..., None]], Any]:
    """Let a command take options that `spec.options` declares: a dictionary, its first parameter.

    They stand in the given order in `--help`, and the command's own follow; `required`: the data.
    """

    def take(command: Callable[..., None]) -> Any:  # noqa: ANN401 (what a decorator gives back)
        @functools.wraps(command)
        def taking(**given: object) -> None:
            command({name: given.pop(name) for name in names}, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        return signed(taking, [*(_parameter(name, required=required) for name in names), *own])

    return take


def signed(command: Callable[..., None], takes: Iterable[inspect.Parameter]) -> Any:  # noqa: ANN401 (a command whose signature is made here)
    """Say what a command takes, where its own parameters do not: typer reads it."""
    each = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in takes]
    vars(command)["__signature__"] = inspect.Signature(each)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in each}
    return command


def _parameter(name: str, *, required: bool) -> inspect.Parameter:
    option, kind = OPTIONS[name], TYPES[name]
    if takes_many(name):
        kind = list[str]
    elif kind == str | Path:
        kind = Path
    if name == "data":
        told = typer.Argument(help=option.help)
    else:
        spelled = "--" + name.replace("_", "-") + (f"/--{option.off}" if option.off else "")
        told = typer.Option(
            spelled,
            metavar=option.metavar,
            help=option.help,
            rich_help_panel=option.panel,
            autocompletion=_OFFERED.get(name),
        )
    needed = required and name == "data"
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else None,
        annotation=Annotated[kind if needed else kind | None, told],
    )


def store_at(cache: Path | None) -> Store:
    """Return where finished stages are kept."""
    from edgetransfer.pipeline.stage.store import Store
    from edgetransfer.spec.catalogue import default_cache

    return Store(cache or default_cache())


def whole_numbers(text: str, option: str, *, least: int) -> tuple[int, ...]:
    """Read a list with commas; SpecError where it is not one of whole numbers from `least`.

    >>> whole_numbers("0,7", "--seeds", least=0)
    (0, 7)
    """
    try:
        numbers = tuple(int(each) for each in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < least:
        raise SpecError(
            "not a list of numbers",
            where=option,
            found=repr(text),
            expected=f"whole numbers from {least}, with commas: 1,5",
        )
    return numbers
