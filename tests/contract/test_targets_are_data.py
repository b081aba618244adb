"""New hardware is one new TOML file: no device is known to the code."""

import re
from pathlib import Path

from edgetransfer.spec import catalogue

ROOT = Path(__file__).parents[2]


def test_no_target_but_this_machine_is_named_in_the_code():
    names = [name for name in catalogue.names("targets") if name != "this-machine"]
    assert names
    pattern = re.compile("|".join(map(re.escape, names)))
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in sorted(ROOT.glob("edgetransfer/**/*.py"))
        for match in pattern.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_number_says_whether_it_was_measured():
    for name in catalogue.names("targets"):
        evidence = catalogue.target(name).evidence
        assert evidence.source
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", evidence.date)
