"""The sections of the report, a file each: a `Section` that a module here declares is shown."""

from edgetransfer.report.section import QUESTIONS, SECTIONS, Section, answers, declare, sections_of

__all__ = ["QUESTIONS", "SECTIONS", "Section", "answers", "sections_of"]

declare(__name__, __path__)
