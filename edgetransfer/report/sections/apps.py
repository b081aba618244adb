"""What the check of a kit measured in an app, on the devices that it ran on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import words
from edgetransfer.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgetransfer.report.node import Node


def apps(block: Node) -> dict[str, Any]:
    """Return a row for each device, with its reasons below it."""
    rows = []
    for app in block.rows():
        p90 = app["p90_ci95_ms"].show(lambda ends: f" ({words.MS.between(ends)})", "")
        rows.append(
            [
                f"{app['kit'].value}: {app['device'].value}",
                app["status"].show(str),
                app["runtime"].show(str),
                app["cases"].show(words.COUNT),
                app["worst"].show(words.tiny),
                app["changed"].show(words.COUNT),
                app["p50_ms"].show(words.MS, "–"),
                app["p90_ms"].show(words.MS, "–") + p90,
            ]
        )
        reasons = "; ".join(str(each.value) for each in app["reasons"].rows())
        rows += [[words.sentence(reasons)]] if reasons else []
    return {"rows": rows}


def told(block: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Say of each device whether the app does there what the build host did."""
    for app in block:
        time = "" if app["p90_ms"] is None else f", p90 {app['p90_ms']:.3g} ms"
        why = f": {'; '.join(app['reasons'])}" if app["reasons"] else ""
        yield (
            f"{app['kit']} on {app['device']}: {app['status']}, {app['cases']} golden cases, "
            f"outputs off by {app['worst']:.2g} at most{time}{why}"
        )


SECTION = Section(
    "apps",
    85,
    "In apps",
    "What the check of a kit measured where the app runs: outputs of the golden cases against "
    "those of the build host, and the time of one of them.",
    "apps",
    apps,
    """
{{ table(
    ("Kit and device", "Status::status", "Runtime", "Cases:number:cases", "Off by:number:off by",
     "Changed:number:changed", "p50:number:p50", "p90:number:p90"),
    rows, kind="ladder reflow", label="What apps measured") }}
""",
    lines=told,
    asks="speed",
)
