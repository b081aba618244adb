"""Keeps what the last run of `make test-swift` said, and of which files of the kit it said that.

Usage: python -m tests.pipeline.kits.swift.green REPORT, an XML file of pytest.
"""

import hashlib
import json
import sys
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

KIT = Path(str(files("edgetransfer.kits"))) / "files" / "ios"
FILE = Path(__file__).with_suffix(".json")


def digest():
    """Return the SHA-256 of the names and contents of all that is compiled."""
    found = hashlib.sha256()
    for each in sorted(KIT.rglob("*")):
        if each.is_file() and each.suffix != ".j2":
            content = hashlib.sha256(each.read_bytes()).hexdigest()
            found.update(f"{content}\t{each.relative_to(KIT).as_posix()}\n".encode())
    return found.hexdigest()


def main():
    """Write the file, where every test of the report passed."""
    tests = [*ElementTree.parse(sys.argv[1]).iter("testcase")]
    passed = [each for each in tests if each.find("failure") is None]
    passed = [
        each for each in passed if each.find("error") is None and each.find("skipped") is None
    ]
    if not tests or passed != tests:
        sys.exit(f"{len(passed)} of {len(tests)} tests passed: {FILE.name} stays as it is")
    said = {
        test.attrib["name"]: [each.attrib["value"] for each in test.iter("property")]
        for test in tests
    }
    FILE.write_text(json.dumps({"digest": digest(), "said": said}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
