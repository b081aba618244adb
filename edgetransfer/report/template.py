"""Renders Jinja with this package's templates and macros; what values hold is escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_MACROS = "{% from 'macros.html.j2' import legend, pairs, scroller, table %}\n"


def rendered(template: str, **values: object) -> Markup:
    """Render a template, in which the macros are at hand."""
    return Markup(_environment().from_string(_MACROS + template).render(values))


def plain(name: str, **values: object) -> str:
    """Render a template of text, in which nothing is escaped."""
    return _environment(escape=False).get_template(name).render(values)


@cache
def _environment(*, escape: bool = True) -> Environment:
    environment = Environment(
        loader=PackageLoader("edgetransfer.report"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["column"] = _column
    return environment


def _column(told: str | tuple[str, str, str]) -> tuple[str, ...]:
    """Return head, classes and name of a column, see ``macros.html.j2``."""
    return told if isinstance(told, tuple) else (*told.split(":"), "", "")[:3]
