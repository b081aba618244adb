"""Every measured figure of README and docs stands in a file that a kept script made.

A block of text (paragraph, list item, table, or code) that holds measured figures ends with a
marker that no reader sees:

    <!-- figures: few_labels.json rows.3 -->

names a file under `benchmarks/results/` and, where it is JSON, keys on the way to the part that
holds them; several are parted by ``;``. Each figure must be among the numbers there, rounded as it
is printed; a share may be printed in per cent. A ``.txt`` file is what a command printed: the
block's lines must be lines of it. ``given 0.1, 95`` among them names numbers that were set, not
measured, and ``<!-- figures: none, WHY -->`` says that the block holds no others: limits that a
user sets, defaults, what somebody else published.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
UNITS = r"%|pp|points?|dB|ms|us|MiB|MB|KiB|seconds?|s|minutes?|hours?|times|x|W|mJ|nats?"
FIGURE = re.compile(
    rf"(?<![\w.`\[-])[-+−±]?\d[\d,]*(?:\.\d+)?(?=\s?(?:{UNITS})(?![\w-]))|(?<![\w./-])[-+−±]?\d+\.\d+(?![\w.]*\w)"
)
VERSION = re.compile(r"\b(?:[A-Z][\w-]*|version|numpy|torch|optimum)[ \n]$")
NEWER = re.compile(
    r" (?:or|and) (?:newer|older)|(?<=95) %[\s-](?:interval|bound|sure|confid|certain)"
)
"""A number behind a name, or before these words, is a version, or a level of confidence."""
MARKER = re.compile(r"<!-- figures: (.*?) -->", re.DOTALL)


def blocks(text):
    """Yield the blocks of a page: text between blank lines, each item of a list by itself."""
    for block in re.split(r"\n\s*\n(?=\S)|\n(?=\* |\d+\. )", text):
        if block.strip():
            yield block


def figures(block):
    """Return the printed figures of a block; code in backquotes and indented code hold none."""
    text = MARKER.sub("", re.sub(r"`[^`]*`|\]\([^)]*\)", "", block))
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    text = "\n".join(lines)
    found = [each for each in FIGURE.finditer(text) if not VERSION.search(text[: each.start()])]
    return [each[0] for each in found if not NEWER.match(text, each.end())]


def numbers(value):
    """Yield every number of a JSON value, those inside of words too."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, str):
        yield from (float(each) for each in re.findall(r"-?\d+(?:\.\d+)?", value))
    else:
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)


def part(value, keys):
    """Follow keys, separated by dots; a key of a list is an index, or NAME=VALUE of its items."""
    for key in filter(None, keys.split(".")):
        if not isinstance(value, list):
            value = value[key]
        elif "=" in key:
            name, _, wanted = key.partition("=")
            value = [each for each in value if str(each.get(name)) == wanted]
            assert value, f"no item with {key}"
        else:
            value = value[int(key)]
    return value


def stands(figure, known):
    """Tell whether a printed figure is one of the numbers, rounded as it is."""
    digits = figure.lstrip("-+−±").replace(",", "")
    tolerance = 0.5001 * 10.0 ** -len(digits.partition(".")[2])
    wanted = float(digits)
    return any(
        abs(abs(each) * scale - wanted) <= tolerance for each in known for scale in (1.0, 100.0)
    )


def unrecorded(block):
    """Return the figures of a block that no named file holds; all where none is named."""
    found = MARKER.search(block)
    if found is None:
        return figures(block)
    if found[1].startswith("none,"):
        return []
    known, printed = [], []
    for each in re.split(r";\s*", found[1]):
        name, _, keys = each.strip().partition(" ")
        if name == "given":
            known += numbers(keys)
            continue
        file = RESULTS / name
        if file.suffix == ".txt":
            printed += file.read_text(encoding="utf-8").splitlines()
        else:
            known += numbers(part(json.loads(file.read_text(encoding="utf-8")), keys.strip()))
    if printed:
        have = {line.strip() for line in printed}
        code = [line for line in MARKER.sub("", block).splitlines() if line.startswith("    ")]
        return [line for line in code if line.strip() and line.strip() not in have]
    return [each for each in figures(block) if not stands(each, known)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_figure_has_its_record(page):
    amiss = [
        f"{' '.join(block.split())[:70]}: {', '.join(bare)}"
        for block in blocks(page.read_text(encoding="utf-8"))
        if (bare := unrecorded(block))
    ]
    assert amiss == []


def test_a_figure_without_a_record_is_seen():
    assert unrecorded("It is 3.4 times as fast.") == ["3.4"]
    assert unrecorded("It is 99.7 dB <!-- figures: few_labels.json rows -->") == ["99.7"]
    assert unrecorded("At most 2.0 points <!-- figures: none, a default -->") == []
    assert figures("`0.5 s` and [0.25](x/0.75.md) of 1,197 pictures, 12 %") == ["0.25", "12"]
