"""Sets the labelled examples of the device aside: to judge an adaptation by, never to fit on.

It does not judge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgetransfer.data.reading import count
from edgetransfer.errors import DataError

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest


@dataclass(frozen=True)
class Parts:
    """Labelled examples, parted.

    Attributes:
        manifest: without the device's examples in train and validation; the test set is whole.
        device: the device's own, of train and validation; of the test set where they have none.
        tested: whether they are of the test set, by which nothing may be chosen.
    """

    manifest: Manifest
    device: tuple[Example, ...]
    tested: bool

    def all_judged(self) -> Manifest:
        """Return all examples, the device's as those that something is judged on."""
        aside = tuple(replace(example, split="validation") for example in self.device)
        kept = self.manifest.examples
        return replace(self.manifest, examples=kept if self.tested else (*kept, *aside))


def set_aside(manifest: Manifest, part: str | None) -> Parts:
    """Part the examples.

    Args:
        manifest: all of them.
        part: COLUMN=VALUE, as `Recipe` has checked it; None where no label of the device is known.

    Raises:
        DataError: no example has that value, or too few others are left to fit on.
    """
    if part is None:
        return Parts(manifest, (), tested=False)
    column, _, value = part.partition("=")
    ours = {e.key for e in manifest.examples if e.metadata.get(column, "").strip() == value}
    _refuse_nothing(manifest, part, column, found=bool(ours))
    kept = tuple(e for e in manifest.examples if e.key not in ours or e.split == "test")
    device = tuple(e for e in manifest.examples if e.key in ours)
    aside = tuple(e for e in device if e.split != "test")
    note = f"{count(len(aside), 'labelled example')} of the device ({part}) were set aside"
    notes = (*manifest.notes, note) if aside else manifest.notes
    rest = replace(manifest, examples=kept, notes=notes)
    _refuse_too_few(rest, part)
    return Parts(rest, aside or device, tested=not aside)


def _refuse_nothing(manifest: Manifest, part: str, column: str, *, found: bool) -> None:
    if found:
        return
    values = {e.metadata[column].strip() for e in manifest.examples if column in e.metadata}
    columns = sorted({name for e in manifest.examples for name in e.metadata})
    if not columns:
        what = "no columns beside files and labels"
    elif values:
        more = ", ..." if len(values) > 10 else ""
        what = f"{column} is {', '.join(sorted(values)[:10])}{more}"
    else:
        what = f"columns {', '.join(columns[:10])}"
    raise DataError(
        "no example is of that part",
        where=f"--device-part {part}",
        found=what,
        expected="a column of the table and one of its values, as COLUMN=VALUE",
    )


def _refuse_too_few(rest: Manifest, part: str) -> None:
    fitted = {example.label for example in rest.split("train")}
    lacking = [label for label in rest.labels if label not in fitted]
    if lacking:
        found = f"no example to train on of {', '.join(lacking[:5])}"
    elif not rest.split("validation"):
        found = "no validation example"
    else:
        return
    raise DataError(
        "too few examples are left without the device's",
        where=f"--device-part {part}",
        found=found,
        fix="give more examples that are not the device's",
    )
