"""What comes from outside is shown on a terminal, and never obeyed."""

import io
import json
from pathlib import Path

import pytest
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgetransfer.cli import render, terminal
from edgetransfer.cli.terminal import Console, TerminalReporter, print_json, show

ODD = "bee\x1b]0;owned\x9b2J\u202egnp"
SHOWN = "bee\\x1b]0;owned\\x9b2J\\u202egnp"


@pytest.mark.parametrize("shape", ["text", "padding", "table", "title"])
def test_no_escape_sequence_reaches_a_terminal(shape):
    """Fault E6: escape sequences of labels and devices reached the terminal."""
    table = Table(title=ODD if shape == "title" else None)
    table.add_column("x", no_wrap=True)
    table.add_row(Text(ODD))
    text = Text(ODD)
    shapes = {"text": text, "padding": Padding(text, 1), "table": table, "title": table}
    file = io.StringIO()
    Console(file).print(shapes[shape])
    assert "bee\\x1b]0;owned\\" in file.getvalue()
    assert all(each.isprintable() or each == "\n" for each in file.getvalue())


def test_colours_are_still_ours(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    Console(file).print(Text(ODD, style="bold red"))
    assert file.getvalue().startswith("\x1b[1;31m")
    assert file.getvalue().count("\x1b") == 2


def test_progress_lines_and_json(capsys):
    reporter = TerminalReporter()
    reporter.begin("data")
    reporter.end("data", ODD, reused=True)
    show(ODD + "\n")
    print_json({"label": ODD})
    captured = capsys.readouterr()
    assert SHOWN in captured.err
    assert captured.err.startswith("  data                       cached  ")
    assert captured.out.startswith(SHOWN + "\n")
    told = captured.out.partition("\n")[2]
    assert json.loads(told) == {"label": ODD}
    assert all(each.isprintable() or each == "\n" for each in told)


def test_a_terminal_gets_a_bar_and_anything_else_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_EVERY_S", 0.0)
    for forced in ("", "1"):
        monkeypatch.setenv("FORCE_COLOR", forced)
        reporter = TerminalReporter()
        reporter.begin("features")(3, 10)
        shown = capsys.readouterr().err
        assert (shown == "  features                 3 of 10\n") is not bool(forced)
        if forced:
            (task,) = reporter._bar.tasks
            assert (task.description.strip(), task.completed, task.total) == ("features", 3, 10)
        reporter.end("features", "54 x 768", reused=False)
        assert reporter._bar is None
        assert capsys.readouterr().err.endswith(" s  54 x 768\n")


def test_the_quiet_say_nothing_of_stages(capsys):
    reporter = TerminalReporter(quiet=True)
    reporter.begin("features")(3, 10)
    reporter.end("features", "54 x 768", reused=False)
    assert capsys.readouterr() == ("", "")


def test_the_quiet_get_a_verdict_in_a_line(capsys):
    render.verdict({"verdict": "PASS", "target": "this-machine"}, Path("out"), quiet=True)
    assert capsys.readouterr().out == "PASS  this-machine  out/report.html\n"


@pytest.mark.parametrize(
    ("done", "total", "shown"), [(0, None, "0 s"), (3, 10, "3/10 time left -:--:--")]
)
def test_a_bar_of_unknown_length_tells_no_time_left(monkeypatch, capsys, done, total, shown):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    reporter = TerminalReporter()
    reporter.begin("trace")(done, total)
    (task,) = reporter._bar.tasks
    told = " ".join(str(each.render(task)) for each in reporter._bar.columns[2:])
    reporter._bar.stop()
    assert told.split() == shown.split()
