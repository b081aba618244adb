"""What commands print of what their use cases return, whole."""

import pytest

from edgetransfer.cli import backbones, build, machine
from edgetransfer.pipeline.doctor import Examination, Finding, PreviewRow, TargetRow


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def printed(capsys):
    """Return the lines on standard output, without the spaces that fill a table's rows."""
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_what_a_machine_has_lacks_and_needs(capsys):
    busy = Finding("other work is running", "ps -eo pid,pcpu")
    absent = Finding("no [OpenVINO] there", "pip install openvino")
    found = Examination(
        where="local",
        environment={"cpu": "i7", "cores": 4, "arch": "x86_64", "isa": ["avx2"], "os": "Linux"},
        capabilities={"ir_version": 10, "opset": 21, "free_memory_mib": 700},
        findings=(busy, Finding("only 9 MiB of disk are free")),
        targets=(
            TargetRow("mine", "a machine", "ready", ()),
            TargetRow("theirs", "another", "lacks", (absent, absent)),
        ),
        previews=(
            PreviewRow("qemu:a", "An A", True, "qemu 9", None),
            PreviewRow("qemu:b", "A B", False, None, None),
            PreviewRow("qemu:c", "A C", False, None, "no emulator"),
        ),
    )
    machine._show_examined(found)
    assert printed(capsys) == [
        "",
        "local",
        "  processor     i7, 4 cores",
        "  instructions  x86_64: avx2",
        "  system        Linux",
        "  runtime       does not load",
        "  takes         IR version 10, opset 21 (tried)",
        "  governor      not told",
        "  temperature   not told",
        "  memory        700 of None MiB free",
        "",
        "To fix",
        "  other work is running",
        "  only 9 MiB of disk are free",
        "    ps -eo pid,pcpu",
        "",
        "Targets",
        "  target  here",
        "  mine    ready",
        "  theirs  lacks  no [OpenVINO] there; no [OpenVINO] there",
        "    pip install openvino",
        "",
        "Emulated processors, for numbers only",
        "  on      what it is",
        "  qemu:a  An A        qemu 9",
        "  qemu:b  A B         not prepared",
        "  qemu:c  A C         no emulator",
        "    edgetransfer doctor --prepare qemu:b",
    ]


def test_a_prepared_processor_is_used_from_where_it_is_kept(capsys, tmp_path):
    record = {"where": "qemu:a", "folder": "/kept/a"}
    machine._show_prepared([record], None)
    machine._show_prepared([record], tmp_path)
    bench = "edgetransfer bench BUNDLE --on qemu:a"
    assert printed(capsys) == [
        "", "  /kept/a", f"  {bench}",
        "", "  /kept/a", f"  EDGETRANSFER_CACHE={tmp_path} {bench}",
    ]  # fmt: skip


def test_a_cache_without_stages(capsys, tmp_path):
    machine.cache_list(tmp_path)
    machine.cache_size(tmp_path)
    machine.cache_clean(tmp_path)
    assert printed(capsys) == [
        "stage  key  size  made",
        f"0.0 MiB in 0 stages, in {tmp_path}",
        "freed 0.0 MiB",
    ]


def test_a_ranking_shows_what_each_knows_and_costs(capsys, tmp_path):
    long = "hf:somebody/a-network-with-a-long-name"
    figures = {"accuracy": 0.9, "log_loss": 0.25, "parameters": 1.5e6, "float_bytes": 2**20}
    record = {
        "candidates": [
            {"backbone": "builtin:tiny-64", "on_front": True, **figures, "float_p90_ms": 1.234},
            {"backbone": long, "on_front": False, **figures, "logme": -0.5},
        ],
    }
    backbones._show_ranking({**record, "timed_on": "an [i7]"}, tmp_path)
    backbones._show_ranking(record, tmp_path)
    lines = printed(capsys)
    assert lines[:8] == [
        "  knows                   accuracy  log loss   LogME  H-score",
        "* builtin:tiny-64            0.900     0.250       -        -",
        "  …work-with-a-long-name     0.900     0.250  -0.500        -",
        "",
        "  costs                   weights  MACs    float  int8  p90 ms  int8 ms",
        "* builtin:tiny-64          1.50 M     -  1.0 MiB     -    1.23        -",
        "  …work-with-a-long-name   1.50 M     -  1.0 MiB     -       -        -",
        "",
    ]
    assert lines[8:10] == [
        "* nothing is both as accurate and as fast, on an [i7]",
        f"  {tmp_path}",
    ]
    assert lines[18:] == ["not timed: this machine is not the target", f"  {tmp_path}"]


def test_a_matrix_shows_its_cells_their_spread_and_what_failed(capsys, tmp_path):
    place = {"backbone": "builtin:tiny-64", "target": "this-machine"}
    spread = {"mean": 0.9, "sd": 0.01}
    record = {
        "cells": [
            {**place, "seed": 0, "verdict": "PASS", "accuracy": 0.9, "bytes": 2**21},
            {**place, "seed": 1, "error": "no\n  fix: yes [now]", "exit_code": 4},
        ],
        "summary": [{**place, "verdicts": {"PASS": 1}, "failed": 1, "accuracy": spread}],
    }
    build._show_matrix(record, tmp_path)
    assert printed(capsys) == [
        "",
        "backbone        seed target       verdict float shipped p90 ms MiB",
        "builtin:tiny-64 0    this-machine PASS    -     0.900   -      2.00",
        "builtin:tiny-64 1    this-machine failed  -     -       -      -",
        "",
        "this-machine: mean over the seeds ± standard deviation,",
        "where they differ",
        "backbone        verdicts float shipped       p90 ms MiB",
        "builtin:tiny-64 1 PASS   -     0.900 ± 0.010 -      -",
        "                1 failed",
        "",
        "builtin:tiny-64, seed 1, this-machine:",
        "  no",
        "  fix: yes [now]",
        "",
        f"  {tmp_path}",
    ]
