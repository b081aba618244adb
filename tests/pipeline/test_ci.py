"""For CI systems: exit codes, Markdown and JUnit of what was judged, the examples' own steps."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgetransfer import errors
from edgetransfer.report import ci

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "ci"


@pytest.fixture
def report(built):
    """A report that a test may change."""
    return copy.deepcopy(built.reports["this-machine"])


def gate(name, status, message, *, decides=True):
    return {"name": name, "status": status, "decides": decides, "message": f"{name}: {message}"}


def with_gates(report, verdict, *gates):
    return {**report, "verdict": verdict, "reasons": ["too <slow> | now"], "gates": list(gates)}


@pytest.fixture
def two(report):
    """A report of two targets: one that fails with a warning, and one that is open."""
    return {
        "mine": with_gates(
            report,
            "FAIL",
            gate("size", "FAIL", "3 MiB, limit 2"),
            gate("sqnr", "FAIL", "9 dB", decides=False),
            gate("finite", "PASS", "0 of 9 \x1b[2J"),
        ),
        "yours": with_gates(
            report,
            "INCONCLUSIVE",
            gate("accuracy", "INCONCLUSIVE", "too few"),
            gate("device", "NOT RUN", "nothing ran"),
        ),
    }


def test_markdown_has_a_row_a_target_and_a_row_a_gate(two):
    text = ci.markdown(two)
    lines = text.splitlines()
    assert lines[0] == "## edgetransfer: FAIL"
    assert lines[2].startswith("| target | verdict | Top-1 accuracy | Change from float | ")
    assert lines[4].startswith("| mine | FAIL | 100.0 % | 0.00 pp | 0 of 60 | ")
    assert lines[5].startswith("| yours | INCONCLUSIVE | 100.0 % | ")
    assert lines[7:] == [
        "* mine: too &lt;slow&gt; \\| now",
        "* yours: too &lt;slow&gt; \\| now",
        "",
        "| target | check | status | decides | what was found |",
        "| --- | --- | --- | --- | --- |",
        "| mine | size | FAIL | yes | 3 MiB, limit 2 |",
        "| mine | sqnr | FAIL | no | 9 dB |",
        "| mine | finite | PASS | yes | 0 of 9 \\\\x1b\\[2J |",
        "| yours | accuracy | INCONCLUSIVE | yes | too few |",
        "| yours | device | NOT RUN | yes | nothing ran |",
    ]


def cases_of(text):
    """Return what each case of a JUnit file holds: its tag, and the message."""
    return {
        (case.get("classname"), case.get("name")): (case[0].tag, case[0].get("message"))
        for case in ElementTree.fromstring(text).iter("testcase")
    }


@pytest.mark.parametrize(("strict", "ends"), [(False, "skipped"), (True, "failure")])
def test_junit_has_a_case_a_gate_and_one_of_the_verdict(two, strict, ends):
    text = ci.junit(two, strict=strict)
    open_yet = (ends, "INCONCLUSIVE: too <slow> | now")
    assert cases_of(text) == {
        ("mine", "verdict"): ("failure", "FAIL: too <slow> | now"),
        ("mine", "size"): ("failure", "FAIL: 3 MiB, limit 2"),
        ("mine", "sqnr"): ("system-out", None),
        ("mine", "finite"): ("system-out", None),
        ("yours", "verdict"): open_yet,
        ("yours", "accuracy"): (ends, "INCONCLUSIVE: too few"),
        ("yours", "device"): ("skipped", "NOT RUN: nothing ran"),
    }
    counts = [suite.attrib for suite in ElementTree.fromstring(text)]
    assert counts == [
        {"name": "mine", "tests": "4", "errors": "0", "failures": "2", "skipped": "0"},
        {
            "name": "yours",
            "tests": "3",
            "errors": "0",
            "failures": "2" if strict else "0",
            "skipped": "1" if strict else "3",
        },
    ]


@pytest.mark.parametrize(("strict", "ends"), [(False, "system-out"), (True, "failure")])
def test_a_pass_that_is_not_sound_is_a_failure_where_it_is_strict(report, strict, ends):
    warned = with_gates(report, "PASS", gate("transfer", "FAIL", "no better", decides=False))
    assert cases_of(ci.junit({"t": warned}, strict=strict))["t", "verdict"][0] == ends


def test_every_exit_code_is_in_the_docs():
    text = (ROOT / "docs" / "budgets.md").read_text()
    told = {int(code) for code in re.findall(r"^\| (\d+) \| .+ \|$", text, re.MULTILINE)}
    kinds = [errors.EdgeTransferError, *errors.EdgeTransferError.__subclasses__()]
    verdicts = {errors.BUDGET_MISSED, errors.UNDECIDED, errors.UNMEASURED}
    assert told == {kind.exit_code for kind in kinds} | verdicts | {0, 2, 130, 141}


def test_bench_writes_both_files(built, command, tmp_path):
    files = ("--markdown", tmp_path / "new" / "gates.md", "--junit", tmp_path / "gates.xml")
    code, out, error = command(
        "bench", built.folders["this-machine"], "--out", tmp_path / "b", *files, "--quiet"
    )
    verdict = out.split()[0]
    assert (code, error) == (0, "")
    assert (tmp_path / "new" / "gates.md").read_text().startswith(f"## edgetransfer: {verdict}\n")
    cases = cases_of((tmp_path / "gates.xml").read_text())
    assert cases["this-machine on local", "verdict"][0] == "skipped"


@pytest.fixture
def repository(pictures, cache, tmp_path):
    """A user's repository with a recipe; return what runs a step's lines in it."""
    words = [sys.executable, "-m", "edgetransfer", "init", pictures, "--target", "raspberry-pi-5"]
    subprocess.run([*words, "--cache", cache], cwd=tmp_path, check=True, capture_output=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "edgetransfer"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgetransfer "$@"\n')
    program.chmod(0o755)

    def run(lines, **environment):
        given = {**os.environ, "EDGETRANSFER_CACHE": str(cache), **environment}
        given["PATH"] = f"{programs}:{given['PATH']}"
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", lines],
            cwd=tmp_path, env=given, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def read_yaml(name):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((EXAMPLES / name).read_text())


def test_the_github_actions_steps_run(repository, tmp_path):
    """They end on 11: no Raspberry Pi is here."""
    action = read_yaml("github/action.yml")
    inputs = {name: each["default"] for name, each in action["inputs"].items()}
    install, prepare, build = action["runs"]["steps"]

    def environment(step):
        shown = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")
        return {
            name: shown.sub(lambda found: inputs[found[1]], value)
            for name, value in step["env"].items()
        }

    assert install["run"] == 'python -m pip install "$PACKAGE"'
    assert prepare["if"] == "inputs.verify-on != ''"
    summary = tmp_path / "summary.md"
    done = repository(build["run"], **environment(build), GITHUB_STEP_SUMMARY=str(summary))
    line = "UNVERIFIED  raspberry-pi-5  edgetransfer-out/raspberry-pi-5/report.html\n"
    assert (done.returncode, done.stdout, done.stderr) == (errors.UNMEASURED, line, "")
    assert summary.read_text().startswith("## edgetransfer: UNVERIFIED\n")
    cases = cases_of((tmp_path / "edgetransfer-out" / "gates.xml").read_text())
    assert cases["raspberry-pi-5", "verdict"][0] == "failure"
    asked = repository(prepare["run"], VERIFY_ON="qemu:z80")
    assert (asked.returncode, "no emulated processor is called 'z80'" in asked.stderr) == (3, True)
    inputs["verify-on"] = "qemu:z80"
    done = repository(build["run"], **environment(build), GITHUB_STEP_SUMMARY=str(summary))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: no emulated processor is called 'z80'\n")


def test_the_workflow_uses_the_action_with_its_inputs():
    steps = read_yaml("github/workflow.yml")["jobs"]["build"]["steps"]
    (used,) = [step for step in steps if step["uses"].endswith("/actions/edgetransfer")]
    assert used["with"].keys() <= read_yaml("github/action.yml")["inputs"].keys()


def test_the_gitlab_jobs_script_runs(repository, tmp_path):
    job = read_yaml("gitlab-ci.yml")["edgetransfer"]
    done = repository("\n".join(job["script"]))
    line = "UNVERIFIED  raspberry-pi-5  edgetransfer-out/raspberry-pi-5/report.html\n"
    assert (done.returncode, done.stdout) == (errors.UNMEASURED, line)
    assert job["allow_failure"]["exit_codes"] == [errors.UNDECIDED, errors.UNMEASURED]
    kept = [*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]]
    assert all((tmp_path / name).exists() for name in kept)
