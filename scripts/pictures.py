"""Makes the pictures of README: the chart of peers, and the top of a report as a browser shows it.

Usage: python scripts/pictures.py [REPORT.html]

The chart holds the figures of `benchmarks/results/compression.json`, and nothing else
(`tests/contract/test_pages.py`). With a report, Chromium's screenshot of it is kept in few colours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
RESULT = ROOT / "benchmarks" / "results" / "compression.json"
CASE = "hymenoptera-mobilenet_v2_1.0_224-0"
SHOWN = {
    "ort-default": "ONNX Runtime, its default",
    "ort-u8s8": "ONNX Runtime, U8S8 per channel",
    "ort-percentile": "ONNX Runtime, percentile",
    "nncf-full": "NNCF, full bias correction",
    "ov-nncf-full": "OpenVINO, NNCF aligned",
    "edgetransfer-rung": "edgetransfer",
}
WIDTH, TOP, STEP, LEFT, PER_DB = 860, 84, 34, 250, 9.0
CHANGED, SPEED = 640, 840
SCREEN, COLOURS = (1200, 720), 64


def text(x: float, y: float, words: str, *, kind: str = "", end: bool = False) -> str:
    """Return a line of text."""
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{anchor}>{escape(words)}</text>'


def chart() -> str:
    """Return the chart of peers as an SVG."""
    cases = json.loads(RESULT.read_text(encoding="utf-8"))["cases"]
    (case,) = (each for each in cases if each["name"] == CASE)
    rows = {row["id"]: row for row in case["rows"]}
    drawn = [
        text(20, 30, "Quantising one MobileNetV2: what is lost, and how fast it is", kind="title"),
        text(LEFT, 60, "signal to noise, dB (more is better)", kind="head"),
        text(CHANGED, 60, f"decisions changed, of {case['n']}", kind="head", end=True),
        text(SPEED, 60, "times as fast as float [95 %]", kind="head", end=True),
    ]
    for number, (name, words) in enumerate(SHOWN.items()):
        row, y = rows[name], TOP + STEP * number
        kind = "ours" if name.startswith("edgetransfer") else "peer"
        speed, (low, high) = row["cpu_vs_float"]["ratio"], row["cpu_vs_float"]["ci95"]
        length = PER_DB * row["sqnr_db"]
        drawn += [
            text(LEFT - 10, y + 15, words, kind=kind, end=True),
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="22" rx="3" class="{kind}"/>',
            text(LEFT + length + 6, y + 15, f"{row['sqnr_db']:.1f}", kind=kind),
            text(CHANGED, y + 15, str(row["flips"]), kind=kind, end=True),
            text(SPEED, y + 15, f"{speed:.2f} [{low:.2f}, {high:.2f}]", kind=kind, end=True),
        ]
    height = TOP + STEP * len(SHOWN) + 10
    style = (
        "text{font:13px system-ui,sans-serif;fill:#444}.title{font-size:16px;font-weight:600;"
        "fill:#111}.head{font-size:12px;fill:#666}text.ours{font-weight:700;fill:#1a4fa3}"
        "rect.peer{fill:#b4bcc8}rect.ours{fill:#2563c9}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">\n<style>{style}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#fff" stroke="#d8dce2"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


def screenshot(report: Path, out: Path) -> None:
    """Keep the top of a report as a headless Chromium shows it."""
    from PIL import Image

    from edgetransfer.transport.browser.place import find

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        whole = Path(folder) / "screen.png"
        size = ",".join(map(str, SCREEN))
        subprocess.run(
            [
                *(find(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--user-data-dir={folder}", f"--window-size={size}", f"--screenshot={whole}"),
                report.absolute().as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        with Image.open(whole) as image:
            few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(out, optimize=True)


def main() -> None:
    """Write the chart, and the screenshot of a report that is named."""
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "peers.svg").write_text(chart(), encoding="utf-8")
    if sys.argv[1:]:
        screenshot(Path(sys.argv[1]), IMAGES / "report.png")


if __name__ == "__main__":
    main()
