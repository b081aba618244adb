"""Makes the file of each method, or keeps the reason why there is none."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compressing.cases import build, digest
from compressing.envs import PEERS, Environments, PeerError, run_peer
from compressing.methods import FLOAT, ORT, OWN, RUNG
from edgetransfer.bundle.files import digest_of
from edgetransfer.pipeline.stage import reached

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from compressing.cases import Case
    from compressing.methods import Method

_STAGES = ("compress", "sensitivity", "rung", "trial")
"""Stages of a build that are work of compressing."""


@dataclass(frozen=True)
class Made:
    """What came of one method: a file, or the reason why there is none."""

    file: Path | None
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def bytes(self) -> int:
        """Return the size of the file, with the weights that OpenVINO keeps beside it."""
        assert self.file is not None  # rows without one are not judged
        beside = self.file.with_suffix(".bin") if self.file.suffix == ".xml" else None
        return self.file.stat().st_size + (beside.stat().st_size if beside else 0)


def make(method: Method, case: Case, environments: Environments) -> Made:
    """Run the peer of a method, unless its file is there from the same inputs."""
    folder = case.folder / method.id
    folder.mkdir(exist_ok=True)
    out = folder / ("model.onnx" if method.runtime == ORT else "model.xml")
    job = {
        "float": str(case.model),
        "calibration": str(case.folder / "calibration.npy"),
        "out": str(out),
        "options": dict(method.options),
    }
    key = json.dumps([digest(case), job["options"], _code(method)])
    kept = folder / "kept.txt"
    if not (kept.is_file() and kept.read_text(encoding="utf-8") == key and out.is_file()):
        kept.unlink(missing_ok=True)
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        try:
            run_peer(environments.python(method.environment), method.script, folder, nice=True)
        except PeerError as error:
            return Made(None, str(error))
        if not out.is_file():
            return Made(None, f"{method.script} ended well but left no file")
        kept.write_text(key, encoding="utf-8")
    facts: dict[str, Any] = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    return Made(out, facts=facts)


def _code(method: Method) -> list[str]:
    files = [PEERS / method.script, PEERS / "common.py", PEERS / f"{method.environment}.txt"]
    ours = (
        [reached.installed().digest("edgetransfer.pipeline.ladder.rungs")]
        if method.id == RUNG
        else []
    )
    return [digest_of(file) for file in files if file.is_file()] + ours


def make_own(name: str, case: Case) -> Made:
    """Let edgetransfer itself quantise the same float graph, as a user's own model.

    The command also reads, traces and measures, so the time is that of the stages that compress
    or try what to ship, wall only; a cache of its own keeps that honest.

    Args:
        name: one of `OWN`.
        case: the network.
    """
    if not case.judged:
        return Made(None, "needs a labelled data set for its classes; these weights are random")
    out, cache = case.folder / name, case.folder / f"{name}-cache"
    for folder in (out, cache):
        shutil.rmtree(folder, ignore_errors=True)
    arguments = [str(case.data), "--backbone", str(case.model), "--fit", "none",
                 "--precision", OWN[name], "--seed", str(case.seed)]  # fmt: skip
    try:
        build(arguments, out, cache)
        core = out / "this-machine" / "measure" / "core.onnx"
        files = [file for stage in _STAGES for file in cache.glob(f"{stage}/*/stage.json")]
        spent = sum(json.loads(file.read_text("utf-8"))["seconds"] for file in files)
    except (OSError, ValueError, PeerError) as error:
        return Made(None, str(error)[:400])
    if not core.is_file():
        return Made(None, f"edgetransfer build left no {core.name}")
    return Made(core, facts={"seconds": round(spent, 2)} if files else {})


def resolve(
    methods: Sequence[Method], case: Case, environments: Environments, brought: dict[str, Made]
) -> dict[str, Made]:
    """Make all files of a case.

    Args:
        methods: rows to make, sources before the rows that run them.
        case: the network.
        environments: of the peers.
        brought: files that no peer makes, by the name of their row.
    """
    made = {FLOAT: Made(case.model), **brought}
    for method in methods:
        if method.id in made:
            continue
        if method.source:
            made[method.id] = made.get(method.source, Made(None, f"{method.source} was not made"))
            continue
        made[method.id] = make(method, case, environments)
        told = made[method.id]
        print(f"  {method.id}: {told.reason or told.facts['cpu_seconds']}", flush=True)
    return made
