"""Options, names and paths that cannot be: one message and an exit code of 2 to 9, at once."""

import json

import pytest

from edgetransfer.bundle.opened import open_bundle
from tests.bad_input.nonsense import write_report

PATHS = {
    "absent": "nowhere/at/all",
    "long": "x" * 5000,
    "deep": "/".join(["x"] * 1000),
    "bytes": "caf\udce9",
    "escape": "\x1b[2Jx",
    "newline": "a\nb",
    "url": "https://example.org/x.zip",
    "empty": "",
    "root": "/proc/self/mem",
    "null": "/dev/null",
    "zero": "/dev/zero",
    "file": "file.bin",
}
COMMANDS = {
    "build": ["build", "{}"],
    "plan-recipe": ["plan", "data", "--recipe", "{}"],
    "plan-target": ["plan", "data", "--target", "{}"],
    "backbone": ["build", "{data}", "--backbone", "{}"],
    "unlabelled": ["build", "{data}", "--unlabelled", "{}", "--distill-from", "builtin:tiny-64"],
    "bench": ["bench", "{}"],
    "bench-data": ["bench", "{bundle}", "--data", "{}"],
    "bench-on": ["bench", "{bundle}", "--on", "{}"],
    "predict": ["predict", "{}", "x.png"],
    "picture": ["predict", "{bundle}", "{}"],
    "report": ["report", "{}"],
    "targets": ["targets", "{}"],
    "rank": ["backbones", "rank", "{}"],
    "fewshot": ["fewshot", "{}"],
    "pretrain": ["pretrain", "{}"],
    "head": ["head", "apply", "{bundle}", "{}", "--out", "out"],
    "export": ["head", "export", "{}", "out"],
    "add": ["add-class", "{bundle}", "moth", "{}", "--out", "out"],
    "engine": ["engine", "{}", "--compute-capability", "8.9"],
    "matrix": ["matrix", "{}"],
    "prepare": ["doctor", "--prepare", "{}"],
}
# What the bench of an empty address is: this machine, or a use of one option less.
TAKEN = {("bench-on", "empty"), ("bench-data", "empty")}
CASES = [(c, p) for c in COMMANDS for p in PATHS if (c, p) not in TAKEN]


@pytest.mark.parametrize(("command", "path"), CASES, ids=map("-".join, CASES))
def test_a_path(command, path, pictures, sound, refused, tmp_path):
    (tmp_path / "file.bin").write_bytes(bytes(range(256)))
    given = {"data": pictures, "bundle": sound}
    words = [PATHS[path] if w == "{}" else w.format(**given) for w in COMMANDS[command]]
    _, told = refused(*words)
    assert "\x1b[2J" not in told


OPTIONS = {
    "--max-drop": ["-1", "0", "nan", "inf", "x", ""],
    "--max-latency-ms": ["-1", "nan", "1e999"],
    "--max-size-mib": ["0", "x"],
    "--max-kl": ["-1", "inf"],
    "--epochs": ["-1", "0", "x", "9" * 5000],
    "--seed": ["x", "1.5", "9" * 5000, str(10**30)],
    "--threads": ["0", "-1", "100000"],
    "--fit": ["everything", ""],
    "--precision": ["w2a2"],
    "--calibration": ["nothing", "../x"],
    "--metric": ["beauty"],
    "--timing": ["never"],
    "--time-budget": ["x", "-5m", "nan", "0"],
    "--device": ["toaster"],
    "--target": ["toaster", "..", "", "../../x", "\udce9"],
    "--backbone": ["builtin:none", "", "hf:", "timm:", "builtin:../x"],
    "--label-column": [""],
    "--nonsense": ["1"],
    "--adapt": ["x"],
    "--processes": ["0", "-1", "7"],
}
GIVEN = [(option, value) for option, values in OPTIONS.items() for value in values]


@pytest.mark.parametrize("command", ["build", "plan"])
@pytest.mark.parametrize(("option", "value"), GIVEN, ids=[f"{o}={v[:12]!r}" for o, v in GIVEN])
def test_an_option(command, option, value, pictures, refused):
    if (command, option) in (("plan", "--label-column"), ("plan", "--processes")):
        pytest.skip("plan does not read the data, nor start")
    refused(command, pictures, option, value)


OTHERS = [
    ["bench", "{bundle}", "--sustained", "x"],
    ["bench", "{bundle}", "--sustained", "-1s"],
    ["bench", "{bundle}", "--on", "ssh:"],
    ["bench", "{bundle}", "--on", "ssh:-oProxyCommand=x"],
    ["bench", "{bundle}", "--on", "qemu:none"],
    ["bench", "{bundle}", "--on", "browser:x:y:z"],
    ["bench", "{bundle}", "--on", "local:x"],
    ["bench", "{bundle}", "--on", "carrier-pigeon"],
    ["fewshot", "{data}", "--ways", "1"],
    ["fewshot", "{data}", "--ways", "99"],
    ["fewshot", "{data}", "--shots", "x"],
    ["fewshot", "{data}", "--shots", ""],
    ["fewshot", "{data}", "--episodes", "0"],
    ["pretrain", "{data}", "--method", "x"],
    ["pretrain", "{data}", "--ways", "99"],
    ["pretrain", "{data}", "--minutes", "-1"],
    ["cache", "list", "--cache", "file.bin"],
    ["cache", "size", "--cache", "/dev/null"],
    ["cache", "clean", "--cache", "file.bin"],
    ["cache", "nonsense"],
    ["demo", "--out", "file.bin"],
    ["demo", "--cache", "file.bin/x"],
    ["doctor", "nonsense"],
    ["doctor", "--prepare", "qemu:none"],
    ["doctor", "--prepare", "x"],
    ["engine", "{bundle}", "--compute-capability", "x"],
    ["add-class", "{bundle}", "ant", "x.png"],
    ["add-class", "{bundle}", "", "x.png"],
    ["add-class", "{bundle}", "a\nb", "x.png"],
    ["add-class", "{bundle}", "moth", "x.png", "--max-drop", "nan"],
    ["predict", "{bundle}"],
    ["report"],
    ["nonsense"],
    ["matrix", "{data}", "--seeds", "x"],
    ["backbones", "rank", "{data}", "--backbone", "builtin:none"],
    ["backbones", "rank", "{data}", "--target", "none"],
]


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_what_cannot_be(words, pictures, sound, refused, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"x")
    refused(*[word.format(data=pictures, bundle=sound) for word in words])


CELLS = {
    "zero": "a\0b,x",
    "label": "text,",
    "blank": " ,x",
    "escape": "\x1b[2J,x",
    "quote": '"a,x',
    "wide": "a,b,c,d",
    "huge": "a" * 200_000 + ",x",
}


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell(cell, refused, tmp_path):
    rows = [f"a text {i},{'xy'[i % 2]}" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows, CELLS[cell]]) + "\n")
    _, told = refused("build", tmp_path / "t.csv")
    assert "\x1b[2J" not in told
    assert "\0" not in told


def test_a_report_that_says_more_than_it_may(sound, copy, refused):
    """The message of a form, whole."""
    bundle = copy(sound)
    report = json.loads((bundle / "report.json").read_text())
    report["verdict"], report["agreement"]["flips"] = "SPLENDID", -1
    write_report(bundle, report, open_bundle(sound))
    assert refused("report", bundle) == (
        9,
        f"error: {bundle / 'report.json'}: verdict: should be 'PASS', 'FAIL', 'INCONCLUSIVE' "
        "or 'UNVERIFIED' (found 'SPLENDID'); agreement.flips: should be greater than or "
        "equal to 0 (found -1)\n"
        "  expected: as `edgetransfer build` wrote it\n"
        "  fix: build it again, or copy the bundle again\n",
    )
