"""The sections of the report, a file each: a `Section` that a module here declares is shown."""

from importlib import import_module
from pkgutil import iter_modules

from edgetransfer.report.section import SECTIONS, Section, figures, lines

__all__ = ["SECTIONS", "Section", "figures", "lines"]

for _found in iter_modules(__path__):
    for _each in vars(import_module(f"{__name__}.{_found.name}")).values():
        if isinstance(_each, Section):
            SECTIONS[_each.name] = _each
