"""The commands about finished stages.

It does not hold any logic of its own.
"""

from typing import Annotated

import typer

from edgetransfer.cli import options as o

cache_app = typer.Typer(no_args_is_help=True, help="What finished stages take on the disk.")


@cache_app.command("list")
def cache_list(cache: o.Cache = None) -> None:
    """List finished stages, newest first."""
    from edgetransfer.cli import use

    use.cache_list(cache)


@cache_app.command("size")
def cache_size(cache: o.Cache = None) -> None:
    """Say how much is kept, and where."""
    from edgetransfer.cli import use

    use.cache_size(cache)


@cache_app.command("clean")
def cache_clean(
    cache: o.Cache = None,
    older_than: Annotated[
        float, typer.Option(min=0.0, metavar="DAYS", help="Keep what is newer.")
    ] = 0.0,
) -> None:
    """Delete finished stages; a later build makes them again."""
    from edgetransfer.cli import use

    use.cache_clean(cache, older_than)
