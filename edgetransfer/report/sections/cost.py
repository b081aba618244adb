"""What the build took, stage by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import words
from edgetransfer.report.section import Section

if TYPE_CHECKING:
    from edgetransfer.report.node import Node


def cost(block: Node) -> dict[str, Any]:
    """Return the whole in a sentence, and a row of each stage in the order it was entered."""
    parts = [
        f"{block['seconds'].show(words.SECONDS)} until this report",
        f"{block['cpu_seconds'].show(words.SECONDS)} of CPU time",
        block["energy_j"].show(lambda joules: f"{joules:,.0f} J by the processor's counter", ""),
    ]
    rows = [
        [
            str(each["stage"].value) + (" (from the cache)" if each["found"].value else ""),
            each["seconds"].show(words.SECONDS),
            each["cpu_seconds"].show(words.SECONDS),
            each["peak_memory_mib"].show(lambda mib: f"{mib:,.0f} MiB"),
        ]
        for each in block["stages"].rows()
    ]
    return {"whole": ", ".join(part for part in parts if part), "rows": rows}


SECTION = Section(
    "cost",
    135,
    "What the build took",
    "A stage from the cache says what it took when it was made; one that enters another counts "
    "that too. CPU time is of child processes too, peak memory of the build's own.",
    "build",
    cost,
    """
<p>{{ whole }}.</p>
<details><summary>{{ rows|length }} stages</summary>
{{ table(("Stage", "Time:number", "CPU time:number", "Peak memory:number"), rows, label="Stages") }}
</details>
""",
)
