"""How seconds and memory of a build grow with pictures and with classes: at most linearly, flat.

Usage: scale.py [--sizes 100 1000 5000 20000] [--classes 2 20 200] [--plot]

Pictures are drawn: a pattern a class, moved, brightened and overlaid with noise. Sizes are taken
with 10 classes, classes with 5,000 pictures; every build is a fresh process with an empty cache,
the backbone that is built in, ``--fit probe``. Rows go into ``results/scale.json``, and what they
come to into ``docs/images/scale.svg``, which `--plot` draws again without a build.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from stages import one

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts

HERE = Path(__file__).parent
RESULT, CHART = HERE / "results" / "scale.json", HERE.parent / "docs" / "images" / "scale.svg"
SIDE, USUAL_CLASSES, USUAL_SIZE = 64, 10, 5000
WIDTH, HEIGHT, LEFT, TOP = 860, 300, 60, 40


def draw(folder: Path, size: int, classes: int) -> None:
    """Write `size` pictures of `classes` classes, the same at every call."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (classes, 6, 6, 3), dtype=np.uint8)
    for number in range(size):
        label = number % classes
        pattern = Image.fromarray(patterns[label]).resize((SIDE + 16, SIDE + 16))
        left, top = rng.integers(0, 16, 2)
        pixels = np.asarray(pattern, dtype=np.float32)[top : top + SIDE, left : left + SIDE]
        noisy = pixels * rng.uniform(0.6, 1.2) + rng.normal(0, 40, pixels.shape)
        place = folder / f"class-{label:03}"
        place.mkdir(exist_ok=True)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(place / f"{number}.jpg")


def measure(size: int, classes: int) -> dict[str, Any]:
    """Build once, and return what it took."""
    with tempfile.TemporaryDirectory() as name:
        draw(Path(name), size, classes)
        seconds, run, report = one(["build", name, "--fit", "probe"])
    stages = run["stages"]
    row = {
        "examples": size,
        "classes": classes,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(stage["cpu_seconds"] for stage in stages), 1),
        "peak_memory_mib": round(max(stage["peak_memory_mib"] or 0 for stage in stages)),
        "verdict": report["verdict"],
        "stages": {stage["stage"]: round(stage["seconds"], 1) for stage in stages},
    }
    told = f"{row['seconds']} s, {row['peak_memory_mib']} MiB, {row['verdict']}"
    print(f"{size} pictures of {classes} classes: {told}", flush=True)
    return row


def growth(rows: list[dict[str, Any]], by: str, what: str) -> float:
    """Return the power with which something grew from the last row but one to the last.

    >>> rows = [{"examples": 10, "seconds": 2.0}, {"examples": 100, "seconds": 20.0}]
    >>> growth(rows, "examples", "seconds")
    1.0
    """
    before, last = rows[-2:]
    return round(log(last[what] / before[what]) / log(last[by] / before[by]), 2)


def chart(record: dict[str, Any]) -> str:
    """Draw seconds over pictures and over classes, both axes logarithmic and alike."""
    most = max(row["seconds"] for by in ("examples", "classes") for row in record[by])
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            "<title>Seconds of a build by pictures and by classes</title>",
            "<style>text{font:13px sans-serif;fill:#777}.t{font-weight:600}"
            ".l{fill:none;stroke:#2563eb;stroke-width:2}.d{fill:#2563eb}</style>",
            *panel(record["examples"], "examples", f"pictures of {USUAL_CLASSES} classes", most),
            f'<g transform="translate({WIDTH / 2:g})">',
            *panel(record["classes"], "classes", f"classes, {USUAL_SIZE:,} pictures", most),
            "</g>\n</svg>\n",
        ]
    )


def panel(rows: list[dict[str, Any]], by: str, title: str, most: float) -> list[str]:
    """Draw one of both, whose axis of seconds ends above `most`."""
    wide, high = WIDTH / 2 - 2 * LEFT, HEIGHT - TOP - 50
    xs = [
        LEFT + wide * log(row[by] / rows[0][by]) / log(rows[-1][by] / rows[0][by]) for row in rows
    ]
    ys = [TOP + high * (1 - log(row["seconds"]) / log(1.5 * most)) for row in rows]
    line = " L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))
    parts = [f'<text class="t" x="{LEFT}" y="20">seconds, by {title}</text>']
    parts.append(f'<path class="l" d="M{line}"/>')
    for x, y, row in zip(xs, ys, rows, strict=True):
        parts.append(f'<circle class="d" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(f'<text x="{x - 12:.1f}" y="{y - 10:.1f}">{row["seconds"]:.0f} s</text>')
        parts.append(f'<text x="{x - 12:.1f}" y="{HEIGHT - 20}">{row[by]:,}</text>')
    return parts


def main() -> None:
    """Measure, print, keep and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 5000, 20000])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 20, 200])
    parser.add_argument("--plot", action="store_true", help="draw what is kept, and end")
    asked = parser.parse_args()
    if not asked.plot:
        record: dict[str, Any] = {
            "command": " ".join(["scale.py", *sys.argv[1:]]),
            "examples": [measure(size, USUAL_CLASSES) for size in asked.sizes],
            "classes": [measure(USUAL_SIZE, classes) for classes in asked.classes],
            "date": datetime.now(UTC).date().isoformat(),
            "environment": fingerprint(runtime_facts()),
        }
        for by in ("examples", "classes"):
            whats = ("seconds", "peak_memory_mib")
            record[f"growth_by_{by}"] = {what: growth(record[by], by, what) for what in whats}
            print(f"grows with {by} to the power", record[f"growth_by_{by}"])
        RESULT.write_text(json.dumps(record, indent=1) + "\n")
    CHART.write_text(chart(json.loads(RESULT.read_text())), encoding="utf-8")


if __name__ == "__main__":
    main()
