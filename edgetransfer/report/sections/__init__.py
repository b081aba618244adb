"""The sections of the report, a file each: a `Section` that a module here declares is shown."""

from edgetransfer.report.section import SECTIONS, Section, declare, figures, lines, sections_of

__all__ = ["SECTIONS", "Section", "figures", "lines", "sections_of"]

declare(__name__, __path__)
