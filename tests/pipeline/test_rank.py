"""Which backbone: ranked by probes and by time, and chosen by a build."""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from typer.testing import CliRunner

import edgetransfer
from edgetransfer.backbone import sources
from edgetransfer.backbone.builtin import MobileNetV2, MobileNetV2Config
from edgetransfer.cli.commands import app
from edgetransfer.errors import SpecError
from edgetransfer.tasks.classification.rank import pareto_front, pick
from scripts.pretraining.weights import initialise

ROWS = [
    {"backbone": "big", "accuracy": 0.96, "log_loss": 0.1, "p90_ms": 9.0},
    {"backbone": "small", "accuracy": 0.8, "log_loss": 0.5, "p90_ms": 2.0},
]
RANKED = {"candidates": ROWS, "timed_on": "a CPU"}


@pytest.fixture(scope="module")
def two_backbones(tmp_path_factory):
    """The built-in backbone, and a narrow one that knows nothing."""
    root = tmp_path_factory.mktemp("weights")
    shutil.copytree(sources.WEIGHTS / "tiny-64", root / "tiny-64")
    card = json.loads((root / "tiny-64" / "card.json").read_text())
    card |= {"name": "narrow", "width": 0.25, "feature_dim": 16}
    network = MobileNetV2(MobileNetV2Config.from_card(card))
    initialise(network, torch.Generator().manual_seed(0))
    (root / "narrow").mkdir()
    (root / "narrow" / "card.json").write_text(json.dumps(card))
    save_file(network.state_dict(), root / "narrow" / "model.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "WEIGHTS", root)
        yield root


@pytest.fixture(scope="module")
def ranked(two_backbones, pictures, cache, tmp_path_factory):
    page = tmp_path_factory.mktemp("ranking") / "page.html"
    command = ["backbones", "rank", str(pictures), "--cache", str(cache), "--out", str(page)]
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout), page, command


def test_all_built_in_backbones_are_ranked_best_first(ranked):
    rows = ranked[0]["candidates"]
    assert [row["backbone"] for row in rows] == ["builtin:tiny-64", "builtin:narrow"]
    good, poor = rows
    assert good["accuracy"] > poor["accuracy"]
    assert good["on_front"] == ("p90_ms" in good)  # times that are not valid rank nothing
    for row in rows:
        taken = [row[key] for key in ("float_p90_ms", "int8_p90_ms") if key in row]
        assert row.get("p90_ms") == min(taken, default=None)
        for key in ("float_p90_ms", "int8_p90_ms"):
            assert key not in row or row[key] >= row[key.replace("p90", "p50")] > 0
        assert row["int8_bytes"] < row["float_bytes"]
    assert poor["macs"] < good["macs"]
    assert "builtin:tiny-64" in ranked[1].read_text()


def test_a_second_ranking_does_nothing_again_and_prints_a_table(ranked):
    done = CliRunner().invoke(app, ranked[2], catch_exceptions=False)
    assert done.exit_code == 0
    for row in ranked[0]["candidates"]:  # the star is for the front, which valid times make
        star = "*" if row["on_front"] else " "
        assert f"{star} {row['backbone']}" in done.stdout
    assert "LogME" in done.stdout


def test_backbones_alone_lists(two_backbones):
    alone, listed = (CliRunner().invoke(app, ["backbones", *more]) for more in ([], ["list"]))
    assert alone.exit_code == listed.exit_code == 0
    assert alone.stdout == listed.stdout
    assert "builtin:tiny-64" in alone.stdout


def test_a_build_takes_the_best_and_says_why(ranked, pictures, cache, tmp_path):
    outcome = edgetransfer.build(
        pictures, backbone="auto", out=tmp_path, cache=cache, precision="fp32", timing="quick"
    )
    report = outcome.reports["this-machine"]
    best = ranked[0]["candidates"][0]
    why = (
        "builtin:tiny-64 was chosen from 2 candidates: the best cross-validated probe, "
        f"top1 {best['accuracy']:.3f}"
    )
    assert report["choice"]["why"] == why
    assert outcome.notes[-1] == why
    page = (outcome.folders["this-machine"] / "report.html").read_text()
    assert "Which backbone?" in page


def test_the_best_within_the_budget_is_taken():
    row, why = pick(RANKED, 4.0)
    assert row["backbone"] == "small"
    assert why == (
        "small was chosen from 2 candidates: the best cross-validated probe of 1 within 4 ms "
        "(p90 2.00 ms here), top1 0.800"
    )


def test_where_none_is_fast_enough_the_fastest_is_named():
    with pytest.raises(SpecError) as error:
        pick(RANKED, 1.0)
    assert str(error.value) == (
        "--backbone auto: no candidate is fast enough on this machine\n"
        "  found: the fastest is small: p90 2.00 ms\n"
        "  expected: at most 1 ms (--max-latency-ms)\n"
        "  fix: add a smaller --candidate, or allow more time"
    )


def test_elsewhere_latency_is_not_judged():
    row, why = pick({"candidates": ROWS}, 1.0)
    assert row["backbone"] == "big"
    assert "whatever its latency: this machine is not the target" in why


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=8))
def test_nothing_on_the_front_is_beaten_and_all_else_is(pairs):
    rows = [{"backbone": str(i), "accuracy": a, "p90_ms": t} for i, (a, t) in enumerate(pairs)]
    front = pareto_front(rows)
    assert front

    def beats(one, other):
        as_good = one["accuracy"] >= other["accuracy"] and one["p90_ms"] <= other["p90_ms"]
        return as_good and (one["accuracy"], one["p90_ms"]) != (other["accuracy"], other["p90_ms"])

    for row in rows:
        assert (row["backbone"] in front) != any(beats(other, row) for other in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"candidate": ["builtin:tiny-64", "./mine"]},
            "command line: --candidate: needs --backbone auto, which chooses "
            "(found builtin:tiny-64, ./mine)",
        ),
        (
            {"backbone": "auto", "fit": "none"},
            "command line: fit: takes your own model, and --backbone auto names none",
        ),
    ],
)
def test_options_that_do_not_go_together(tmp_path, options, message):
    with pytest.raises(SpecError) as error:
        edgetransfer.build(tmp_path, cache=tmp_path, **options)
    assert str(error.value).startswith(message)


def test_a_backbone_that_is_not_there_is_called_as_it_was_asked_for(pictures, cache):
    command = ["backbones", "rank", str(pictures), "--cache", str(cache), "--backbone", "nosuch"]
    with pytest.raises(SpecError) as caught:
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert str(caught.value) == (
        "--backbone nosuch: no such backbone\n"
        "  expected: hf:ORG/NAME, timm:NAME, builtin:NAME, a local folder, or a .onnx file"
    )


def test_a_device_that_is_not_there_is_refused_before_any_work(pictures, cache, tmp_path):
    with pytest.raises(SpecError, match="--device tpu: torch cannot train there"):
        edgetransfer.build(pictures, device="tpu", out=tmp_path / "out", cache=tmp_path / "cache")
    assert not (tmp_path / "out").exists()
