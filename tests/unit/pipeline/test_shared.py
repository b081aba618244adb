"""Who joins a build of several processes: as many as were asked for, for a fit that is shared."""

from types import SimpleNamespace

import pytest

from edgetransfer.errors import SpecError
from edgetransfer.pipeline.stage import shared
from edgetransfer.spec.recipe import recipe_from


def refused(asked, **options):
    with (
        pytest.raises(SpecError) as caught,
        shared.joined(recipe_from({"data": "photos", **options}), asked),
    ):
        pass
    return str(caught.value)


def test_another_number_of_processes_is_refused(monkeypatch):
    for name in shared._SIZES:
        monkeypatch.delenv(name, raising=False)
    assert refused(3, fit="finetune").startswith(
        "--processes 3: this is not how many processes were started\n  found: 1, by what the "
        "launcher says in WORLD_SIZE, "
    )
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert "\n  found: 4, by " in refused(3, fit="finetune")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with shared.joined(recipe_from({"data": "photos"}), 1) as team:
        assert team.size == 1


def test_several_processes_share_fine_tuning_alone(monkeypatch):
    told = []
    monkeypatch.setattr(shared, "_team", lambda *_: SimpleNamespace(size=2, fail=told.append))
    for fit in ("probe", "contrastive", "none"):
        assert refused(2, fit=fit) == (
            f"--fit {fit}: several processes share fine-tuning, and nothing else\n"
            "  fix: start one process, or take --fit finetune or auto"
        )
    assert len(told) == 3
    for fit in ("finetune", "lora"):
        with shared.joined(recipe_from({"data": "photos", "fit": fit}), 2) as team:
            assert team.size == 2
