"""Episodes through the command line."""

import json
import re

import pytest
from typer.testing import CliRunner

from edgetransfer.cli.commands import app
from edgetransfer.errors import EdgeTransferError


@pytest.fixture
def fewshot(pictures, cache):
    def run(*more):
        command = ["fewshot", str(pictures), "--cache", str(cache), "--ways", "3", *more]
        return CliRunner().invoke(app, command, catch_exceptions=False)

    return run


def test_every_head_at_every_number_of_shots(fewshot):
    asked = ("--shots", "1,4", "--queries", "5", "--episodes", "20")
    told = json.loads(fewshot(*asked, "--json").stdout)
    scores = {(each["head"], each["shots"]): each for each in told["scores"]}
    assert set(scores) == {(h, s) for h in ("prototypes", "regression") for s in (1, 4)}
    for head in ("prototypes", "regression"):
        assert 1 / 3 < scores[head, 1]["accuracy"] <= scores[head, 4]["accuracy"] <= 1
    lines = fewshot(*asked).stdout.splitlines()
    assert "3-way, 5 queries, 20 episodes" in lines
    first = next(line for line in lines if "prototypes" in line and "+-" in line)
    assert re.fullmatch(r"    1-shot  prototypes +\d+\.\d \+- \d+\.\d %", first)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ("--shots", "1,many"),
            "--shots: not a list of numbers\n"
            "  found: '1,many'\n"
            "  expected: whole numbers from 1, with commas: 1,5",
        ),
        (
            ("--shots", "500"),
            "too few classes with enough examples for an episode\n"
            "  found: 0 of 3 classes have 515 examples (500 shots and 15 queries)\n"
            "  expected: 3\n"
            "  fix: take fewer --ways, --shots or --queries",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(fewshot, more, message):
    with pytest.raises(EdgeTransferError) as caught:
        fewshot(*more)
    assert str(caught.value) == message
