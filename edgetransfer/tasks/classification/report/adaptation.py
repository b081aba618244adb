"""What domain adaptation to the device's pictures brought."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetransfer.report import words
from edgetransfer.report.section import Section
from edgetransfer.tasks.classification.study import told_adaptation

if TYPE_CHECKING:
    from edgetransfer.report.node import Node


def adaptation(block: Node) -> dict[str, list[str]]:
    """Return what was found in sentences, warnings first."""
    warned = [f"warning: {row['message'].value}" for row in block["warnings"].rows()]
    return {"told": [words.sentence(each) for each in (*warned, *told_adaptation(block.value))]}


SECTION = Section(
    "adaptation",
    50,
    "Does it fit the device's pictures?",
    "Domain adaptation to pictures of the device that have no labels. Labelled examples of the "
    "device are judged by, never fitted on.",
    "adaptation",
    adaptation,
    """
<ul class="notes">
{% for sentence in told %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
""",
    lines=told_adaptation,
    of_build=True,
)
