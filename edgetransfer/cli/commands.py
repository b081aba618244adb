"""The commands: each parses, calls one use case, and renders what comes back."""

from typing import Annotated

import typer
from typer.core import TyperGroup

from edgetransfer.cli import backbones, build, bundle, machine


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"edgetransfer {version('edgetransfer')}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[  # taken off the command line, wherever it stands, by `cli.app`
        bool,
        typer.Option(
            "--debug",
            help="Show an error's traceback, and a build's stages; after any command too.",
        ),
    ] = False,
) -> None:
    pass


class _Program(TyperGroup):
    """Says what is wrong with a value as the errors of recipes do."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # its own, narrower
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from edgetransfer.spec.outside import plainer

            error.message = plainer(error.message)
            raise


app = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    callback=_common,
    help="Fit a pretrained backbone to your examples, quantise it, and measure what it costs.",
)
for _each in (
    machine.doctor,
    build.init,
    build.build,
    build.demo,
    bundle.bench,
    bundle.predict,
    machine.targets,
    build.plan,
    build.matrix,
    bundle.export,
    bundle.size,
    bundle.push,
    bundle.report,
    bundle.compare,
    backbones.fewshot,
    backbones.pretrain,
):
    app.command()(_each)

_cache = typer.Typer(no_args_is_help=True, help="Show or delete the finished stages on the disk.")
_cache.command("list")(machine.cache_list)
_cache.command("size")(machine.cache_size)
_cache.command("clean")(machine.cache_clean)
app.add_typer(_cache, name="cache")

_head = typer.Typer(no_args_is_help=True, help="Export or apply the head of a bundle alone.")
_head.command("export")(bundle.head_export)
_head.command("apply")(bundle.head_apply)
app.add_typer(_head, name="head")

_classes = typer.Typer()  # beside the other commands, after the groups before
_classes.command("add-class")(bundle.add_class)
_classes.command("engine")(bundle.engine)
app.add_typer(_classes)

_backbones = typer.Typer(
    invoke_without_command=True,
    callback=backbones.backbones,
    help="List backbones, or rank them for your examples.",
)
_backbones.command("list")(backbones.listed)
_backbones.command("rank")(backbones.rank)
app.add_typer(_backbones, name="backbones")
