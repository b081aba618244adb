"""The commands that make something else of a bundle: another class, a head alone, an engine."""

from pathlib import Path
from typing import Annotated

import typer

from edgetransfer.cli import options as o

classes_app = typer.Typer()
"""Its commands stand beside those of `app`."""
head_app = typer.Typer(no_args_is_help=True, help="Ship the head of a bundle alone.")


@classes_app.command("add-class")
def add_class(
    bundle: o.Bundle,
    name: Annotated[str, typer.Argument(help="The new class.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Its pictures, or texts in quotes.")
    ],
    data: Annotated[
        str | None, typer.Option(help="Labelled examples to check the old classes with.")
    ] = None,
    label_column: o.LabelColumn = None,
    text_column: o.TextColumn = None,
    file_column: o.FileColumn = None,
    max_drop: o.MaxDrop = None,
    out: Annotated[
        Path | None, typer.Option(help="The new bundle; default: BUNDLE+NAME beside it.")
    ] = None,
    seed: o.Seed = None,
    json: o.Json = False,
    strict: o.Strict = False,
) -> None:
    """Add a class to a bundle from a few examples; the backbone stays as it is."""
    from edgetransfer.cli import classes

    classes.add_class(dict(locals()))


@classes_app.command("engine")
def engine(
    bundle: o.Bundle,
    compute_capability: Annotated[
        str, typer.Option(help="Of the GPU that it is for: 8.9 is an RTX 40, 8.6 an RTX 30.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file; default: engine-CAPABILITY.plan here.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Build a TensorRT-RTX engine of a bundle without its GPU; engines hold code: ship yours."""
    from edgetransfer.cli import classes

    classes.engine(bundle, compute_capability, out, as_json=json)


@head_app.command("export")
def head_export(
    bundle: o.Bundle,
    file: Annotated[Path, typer.Argument(help="The head file that is written.")],
) -> None:
    """Write the head of a bundle to a file of its own."""
    from edgetransfer.cli import classes

    classes.head_export(bundle, file)


@head_app.command("apply")
def head_apply(
    bundle: o.Bundle,
    file: Annotated[Path, typer.Argument(help="A file that `head export` wrote.")],
    out: Annotated[Path, typer.Option(help="The new bundle.")],
) -> None:
    """Make the bundle that has the head of a file on the same backbone."""
    from edgetransfer.cli import classes

    classes.head_apply(bundle, file, out)
