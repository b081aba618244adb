"""What README and docs print can be pasted: commands parse, targets, scripts and links are there.

Every `edgetransfer` command of a page is parsed by the real command line, without running it, and
its values are checked as far as that needs no files. `tests/pipeline/test_printed.py` runs the
cheap ones.
"""

import ast
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import edgetransfer
from edgetransfer.cli import commands
from edgetransfer.spec import catalogue
from edgetransfer.spec.options import seconds_of
from edgetransfer.spec.recipe import PLACES, recipe_from
from edgetransfer.transport.place import TRANSPORTS

ROOT = Path(__file__).parents[2]
ABOVE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
PAGES = [*(ROOT / each for each in ABOVE), *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = typer.main.get_command(commands.app)
LINE = re.compile(r"(?:\$ )?(?:\w+=\S+ )*(?:\S*/|.* -m )?edgetransfer (\S.*)")
SPAN = re.compile(r"`edgetransfer ([^`]+)`")
CODE = re.compile(r"^ {4}.*$|^```.*?^```", re.MULTILINE | re.DOTALL)
BUILDS = {"build", "plan", "matrix"}
UPPER = re.compile(r"[A-Z]+")
"""Stands for what the reader has: BUNDLE, SERIAL, HOST."""


def printed(text):
    """Yield every command of a page: whether it is a line of code, and its words."""
    code = "\n".join(CODE.findall(text)).replace("\\\n", " ")
    for line in code.splitlines():
        found = LINE.fullmatch(re.sub(r" [|>] .*", "", line.strip()))
        if found is not None:
            yield True, shlex.split(found[1], comments=True)
    for found in SPAN.finditer(CODE.sub("", text)):
        yield False, shlex.split(" ".join(found[1].split()))


def parsed(words):
    """Return the words of the command, and its parameters, as the command line reads them."""
    context, names = PROGRAM.make_context("edgetransfer", list(words)), []
    while hasattr(context.command, "commands"):
        rest = [*context._protected_args, *context.args]
        if not rest and context.command.invoke_without_command:
            break
        name, command, rest = context.command.resolve_command(context, rest)
        names.append(name)
        context = command.make_context(name, rest, parent=context)
    return " ".join(names), context.params


def check_values(command, params):
    """Raise where a value cannot be, as far as that shows without files."""
    if command in BUILDS:
        asked = {name: value for name, value in params.items() if name in PLACES}
        for backbone in params["backbone"] if command == "matrix" else [params["backbone"]]:
            recipe_from({**asked, "data": asked["data"] or ".", "backbone": backbone})
    targets = [*(params.get("target") or ()), params.get("as_target")]
    targets += [params["name"]] if command == "targets" else []
    for target in filter(None, targets):
        if not UPPER.fullmatch(target):
            catalogue.target(target)
    places = params.get("on") or ()
    for place in [places] if isinstance(places, str) else [*places, *(params.get("prepare") or ())]:
        word, _, address = place.partition(":")
        assert word in {*TRANSPORTS, "WHERE"}, place
        if word == "qemu" and not UPPER.fullmatch(address):
            catalogue.preview(address)
    if params.get("calibration"):
        catalogue.calibration_recipe(params["calibration"])
    if params.get("sustained"):
        seconds_of(params["sustained"], "--sustained")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_one_that_the_command_line_takes(page):
    for whole, words in printed(page.read_text(encoding="utf-8")):
        if not whole and not any(word.startswith("-") or "." in word for word in words):
            words = [*words, "--help"]  # a command is spoken of
        try:
            check_values(*parsed(words))
        except typer.Exit:
            continue
        except Exception as error:
            pytest.fail(f"edgetransfer {shlex.join(words)}: {error}")


def test_a_command_that_cannot_be_is_seen():
    text = "Try `edgetransfer demo`:\n\n    $ A=1 bin/edgetransfer build . \\\n     --fit all # x\n"
    assert list(printed(text)) == [(True, ["build", ".", "--fit", "all"]), (False, ["demo"])]
    for words, told in (
        ("build . --fit all", "'all' is not one of"),
        ("build . --fits none", "No such option: --fits"),
        ("build . --max-drop -1", "--max-drop: should be greater than 0"),
        ("build . --target raspberry", "no target is called 'raspberry'"),
        ("bench B --on qemu:z80", "no emulated processor is called 'z80'"),
        ("head exports B f", "No such command 'exports'"),
    ):
        with pytest.raises(Exception, match=re.escape(told)):
            check_values(*parsed(words.split()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    goals = set(
        re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(re.findall(r"(?:^ {4}|`)make ([\w-]+)", text, re.MULTILINE)) <= goals
    scripts = re.findall(
        r"\b((?:benchmarks|calibration|examples|scripts|targets|tests)/[\w/.-]+\.\w+)", text
    )
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", CODE.sub("", text))
    there = {each: (ROOT / each).exists() for each in scripts}
    there |= {each: (page.parent / each).exists() for each in links}
    assert [each for each, found in there.items() if not found] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_is_valid_and_gives_our_functions_what_they_take(page):
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for call in ast.walk(ast.parse(code)):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("edgetransfer."):
                function = getattr(edgetransfer, ast.unparse(call.func).partition(".")[2])
                keywords = {each.arg: None for each in call.keywords}
                inspect.signature(function).bind(*call.args, **keywords)


def test_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130


def test_the_chart_is_what_the_results_say():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    assert (ROOT / "docs" / "images" / "peers.svg").read_text(encoding="utf-8") == pictures.chart()


def test_messages_that_are_explained_are_ours():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    code = "\n".join(f.read_text(encoding="utf-8") for f in ROOT.glob("edgetransfer/**/*.py"))
    told = re.findall(r"^### `([^`]+)`", text, re.MULTILINE)
    assert len(told) > 20
    assert [each for each in told if each not in code] == []


def test_the_site_builds_and_needs_nothing_from_outside(tmp_path):
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {file: file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.html")}
    assert "--max-drop PP" in pages[tmp_path / "reference" / "commands.html"]
    assert "max_drop_pp" in pages[tmp_path / "reference" / "recipe.html"]
    assert "raspberry-pi-5" in pages[tmp_path / "reference" / "targets.html"]
    assert "IntegrityError" in pages[tmp_path / "reference" / "exit-codes.html"]
    loaded = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//")
    assert [file.name for file, text in pages.items() if loaded.search(text)] == []
