"""The Python API: the same work as the command line's, with its options as keywords."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast, get_type_hints

from edgetransfer.pipeline import build as stages
from edgetransfer.pipeline.bench.bench import There
from edgetransfer.pipeline.bench.bench import bench as measure
from edgetransfer.pipeline.predict import LoadedModel, Prediction
from edgetransfer.pipeline.stage.reporter import Reporter, SilentReporter
from edgetransfer.pipeline.stage.shared import joined
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.catalogue import default_cache
from edgetransfer.spec.options import BenchOptions, Options
from edgetransfer.spec.outside import nearest
from edgetransfer.spec.recipe import PLACES, DataSpec, Recipe, recipe_from
from edgetransfer.transport.place import LOCAL

if TYPE_CHECKING:
    from edgetransfer.pipeline.build import Outcome

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def _taking(options: type, **defaults: object) -> Callable[[_Function], _Function]:
    """Let `inspect.signature` name the keywords of a function, and refuse every other one.

    Their `defaults` are those of a recipe where others are not given.
    """
    recipe, keywords = Recipe(data=DataSpec(source="")), []
    for name, kind in get_type_hints(options).items():
        default: Any = functools.reduce(getattr, PLACES[name], recipe) if name in PLACES else None
        default = defaults.get(name, default)
        keyword = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        keywords.append(keyword.replace(annotation=kind | None if default is None else kind))

    def taking(function: _Function) -> _Function:
        bare = inspect.signature(function)
        own = [each for each in bare.parameters.values() if each.kind is not each.VAR_KEYWORD]
        whole = bare.replace(parameters=[*own, *keywords])

        @functools.wraps(function)
        def checked(*given: object, **named: object) -> object:
            unknown = sorted(named.keys() - whole.parameters.keys())
            if unknown:
                has = ", ".join(sorted(whole.parameters))
                msg = f"{function.__name__}() has no option {', '.join(unknown)}; it has {has}"
                near = [name for each in unknown for name in nearest(each, whole.parameters)]
                msg += f"; did you mean {', '.join(near)}?" if near else ""
                raise TypeError(msg)
            return function(*given, **named)

        vars(checked)["__signature__"] = whole
        return cast("_Function", checked)

    return taking


class BuildOptions(Options, total=False):
    """The keywords of `build`: those of a recipe, and where to measure what cannot be here."""

    verify_on: str


@_taking(BuildOptions)
def build(
    data: str | Path,
    *,
    out: str | Path = "edgetransfer-out",
    recipe: str | Path | None = None,
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
    processes: int | None = None,
    **options: Unpack[BuildOptions],
) -> Outcome:
    """Fit, quantise, export and measure, and return the verdict.

    Args:
        data: a folder of pictures or a table.
        out: gets one folder a target, and ``run.json``.
        recipe: a TOML file with the fields of a recipe.
        cache: where finished stages are kept; default: the user's cache folder.
        reporter: told of every stage.
        processes: how many a launcher has to have started; default: as many as it did.
        options: those of ``edgetransfer build``, with underscores: ``target``, ``backbone``,
            ``fit``, ``precision``, ``max_drop``, ... `verify_on` is a place, as `bench` takes
            it, where those targets are measured too that this machine cannot verify.

    Raises:
        TypeError: an option that does not exist.
        EdgeTransferError: one of its kinds, for every failure that is not a bug.
    """
    verify_on = options.pop("verify_on", None)
    asked = recipe_from({"data": str(data), **options}, Path(recipe) if recipe else None)
    store = Store(Path(cache) if cache else default_cache())
    with joined(asked, processes) as team:
        told = reporter or SilentReporter()
        return stages.build(asked, Path(out), store, told, team, verify_on)


class Report(dict[str, Any]):
    """What stands in ``report.json`` of a `folder`; it shows itself as a row of a table."""

    def __init__(self, report: dict[str, Any], folder: Path) -> None:
        super().__init__(report)
        self.folder = folder

    def __repr__(self) -> str:
        """Return target and verdict."""
        return f"<Report {self['target']}: {self['verdict']}>"

    def _repr_html_(self) -> str:
        """Show the row in a notebook, with a link to the page."""
        from edgetransfer.report.index import outcome_table

        return outcome_table({self["target"]: self}, {self["target"]: self.folder})


@_taking(BenchOptions, timing=There.timing)
def bench(
    bundle: str | Path,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    **options: Unpack[BenchOptions],
) -> Report:
    """Measure a bundle on a device, judge it by its own budget, and return the report.

    Args:
        bundle: a folder that a build wrote.
        data: new examples, labelled or not; default: the golden ones.
        out: gets the report and the raw samples; default: ``bench`` in the bundle.
        reporter: told of every stage.
        options: those of ``edgetransfer bench``, with underscores: `on` (one place), ``sustained``,
            ``group_by``, ...

    Raises:
        TypeError: an option that does not exist.
        EdgeTransferError: one of its kinds, for every failure that is not a bug.
    """
    columns = {name: value for name, value in options.items() if name in PLACES}
    asked = None if data is None else recipe_from({"data": str(data), **columns}).data
    there = There.of(options, options.get("on", LOCAL))
    room = Path(bundle, "bench") if out is None else Path(out)
    return Report(measure(Path(bundle), asked, room, reporter or SilentReporter(), there), room)


def load(bundle: str | Path) -> LoadedModel:
    """Open the shipped model of a bundle, to predict with it again and again.

    Raises:
        IntegrityError: not a bundle, or a changed one.
    """
    return LoadedModel(Path(bundle))


def predict(
    bundle: str | Path,
    inputs: str | Path | Iterable[str | Path],
    *,
    text_column: str | None = None,
    file_column: str | None = None,
) -> list[Prediction]:
    """Open the shipped model of a bundle and predict once; see `LoadedModel.predict`."""
    return load(bundle).predict(inputs, text_column=text_column, file_column=file_column)
