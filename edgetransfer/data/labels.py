"""What a label is, as far as reading, dividing and drawing examples asks; a task has its rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from edgetransfer.errors import SpecError
from edgetransfer.spec.budget import OF_EVERY_TASK, Budget

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgetransfer.data.manifest import Example, Manifest, Split


class LabelRules(Protocol):
    """What a task says of labels: texts of a table's cells, or names of folders of pictures.

    `strata` and `truth` are to be written; the others take any label, and know no names.
    """

    def strata(self, labels: Sequence[str]) -> Sequence[str]:
        """Return the stratum of each label, [N]: splits and samples hold strata in proportion."""

    def truth(self, manifest: Manifest, examples: Iterable[Example]) -> NDArray[Any]:
        """Return the labels of examples as numbers, [N]; DataError for none, or an unknown one."""

    def refuse_folder(self, root: Path) -> None:
        """Raise a DataError where folders of pictures are named by no labels."""

    def refuse_column(self, cells: Sequence[str], column: str, table: Path) -> None:
        """Raise a DataError where a column holds no labels."""

    def problem(self, label: str) -> str:
        """Say why a cell holds no label ("which is ..."), empty where it does."""
        return ""

    def names(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return the lines of ``labels.txt``: classes in their order, or what is measured."""
        return ("value",)

    def known(self, label: str, names: Sequence[str]) -> bool:
        """Tell whether a model with these names could give a label."""
        return not self.problem(label)

    def recognised(self, manifest: Manifest, names: tuple[str, ...], where: str) -> Manifest:
        """Return new data with a model's labels; DataError where it does not know some."""
        return replace(manifest, labels=names)

    def problems(self, records: Sequence[Example], carved: Collection[Split]) -> list[str]:
        """Say what keeps records from being learned, where these splits will be carved."""
        wrong = ((each, self.problem(each.label)) for each in records if each.label is not None)
        found = [f"{each.where}: label {each.label!r}, {why}" for each, why in wrong if why]
        trained = not records or any(each.split in {"train", None} for each in records)
        return found if trained else [*found, "no example is for training"]

    def notes(self, records: Sequence[Example], names: Sequence[str]) -> list[str]:
        """Say what of sound labels is good to know."""
        return []

    def told(self, names: Sequence[str]) -> str:
        """Say in a word or two what there is to fit to."""
        return "examples"

    def refuse_limits(self, budget: Budget, names: Sequence[str]) -> None:
        """Raise a SpecError for limits that would not be held: here, all that are of classes."""
        given = budget.model_dump(exclude_defaults=True).keys() - OF_EVERY_TASK
        if given:
            raise SpecError(
                "limits that the task does not hold",
                where="budget",
                found=", ".join(sorted(given)),
                expected=f"of {', '.join(sorted(OF_EVERY_TASK))}",
                fix="leave the others out of the recipe",
            )
