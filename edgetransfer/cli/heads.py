"""The commands that add a class to a bundle and ship heads alone.

It does not hold any logic: `classes` calls the use cases.
"""

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
