"""Judges every file of a case: logits, residency, and times side by side.

ONNX Runtime's rows go through edgetransfer's own agent, all variants in one interleaved job.
OpenVINO's are timed in their own environment, interleaved there with ONNX Runtime's float, its
U8S8 baseline and the files that were brought along: a ratio never crosses two jobs.
"""

from __future__ import annotations

import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from compressing.envs import PeerError, last_words, run_peer
from compressing.methods import BASELINE, FLOAT, OPENVINO, ORT
from edgetransfer.agent.environment import isa_flags
from edgetransfer.bundle.agent_archive import pack_agent
from edgetransfer.errors import EdgeTransferError
from edgetransfer.graph.census import residency
from edgetransfer.measure.speed.latency import Samples
from edgetransfer.spec import catalogue
from edgetransfer.transport import local
from edgetransfer.transport.job import EFFORTS, Effort, Job, TimingPlan, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from compressing.cases import Case
    from compressing.making import Made
    from compressing.methods import Method

Array = np.ndarray[Any, Any]
TIMINGS = {
    "standard": Effort(3, TimingPlan(blocks=192, warmup_s=0.2, warmup_max_s=1.0)),
    "quick": EFFORTS["quick"],
}
"""Fewer and longer processes than a build's: many variants have to be opened in each."""


@dataclass
class Observed:
    """What was seen of one row; `reason` where something could not be had."""

    logits: Array | None = None
    residency: Mapping[str, Any] | None = None
    reason: str = ""


class Bench:
    """Runs the jobs of one case.

    Args:
        case: the network.
        made: the file of every row.
        openvino: interpreter of OpenVINO's environment, None where there is none.
        timing: name of the effort, one of `TIMINGS`.
    """

    def __init__(
        self, case: Case, made: Mapping[str, Made], openvino: Path | None, timing: str
    ) -> None:
        self._case = case
        self._made = made
        self._python = openvino
        self._effort = TIMINGS[timing]
        self._agent = case.folder / "agent.pyz"
        self._inputs = {case.input_name(): str(case.rows)}
        pack_agent(self._agent)

    def observe(self, method: Method) -> Observed:
        """Return logits and residency of one row."""
        with tempfile.TemporaryDirectory(dir=self._case.folder) as name:
            folder = Path(name)
            try:
                if method.runtime == OPENVINO:
                    return self._observe_openvino(method, folder)
                variant = self._variant(method)
                local.run(self._agent, Job("outputs", (variant,)), folder)
                logits = np.load(folder / "output-0.npy")
                target = folder / "optimised.onnx"
                written = self._variant(method, optimised_to=str(target))
                local.run(self._agent, Job("optimise", (written,)), folder)
                held = asdict(residency(onnx.load(target)))
            except (EdgeTransferError, PeerError, OSError, ValueError) as error:
                return Observed(reason=last_words(str(error)))
        held["float_ops"] = len(held["float_ops"])
        return Observed(logits, held)

    def _variant(self, method: Method, optimised_to: str | None = None) -> Variant:
        file, config = str(self._made[method.id].file), session_of(method)
        return Variant(method.id, file, self._inputs, config=config, optimised_to=optimised_to)

    def _observe_openvino(self, method: Method, folder: Path) -> Observed:
        told = self._run_openvino({"action": "logits"}, [method], folder)
        return Observed(np.load(folder / f"{method.id}.npy"), told[method.id])

    def _run_openvino(
        self, job: dict[str, Any], methods: Sequence[Method], folder: Path
    ) -> dict[str, Any]:
        if self._python is None:
            raise PeerError("OpenVINO could not be installed")
        variants = [
            {"name": m.id, "runtime": m.runtime, "model": str(self._made[m.id].file)}
            for m in methods
        ]
        content = {**job, "variants": variants, "inputs": str(self._case.rows)}
        (folder / "job.json").write_text(json.dumps(content), encoding="utf-8")
        run_peer(self._python, "openvino_run.py", folder, nice=job["action"] != "time")
        made: dict[str, Any] = json.loads((folder / "made.json").read_text(encoding="utf-8"))
        return made

    def times(self, methods: Sequence[Method], seed: int) -> tuple[dict[str, Samples], str]:
        """Time ONNX Runtime's rows in fresh processes of the agent, all in one job.

        Returns:
            Samples by row, and a reason where there are none.
        """

        def job(process: int, folder: Path) -> None:
            variants = tuple(self._variant(method) for method in methods)
            order = seed * 1000 + process
            local.run(self._agent, Job("time", variants, self._effort.plan, order), folder)

        return self._gather(methods, job)

    def times_beside_openvino(
        self, methods: Sequence[Method], seed: int
    ) -> tuple[dict[str, Samples], str]:
        """Time OpenVINO's rows and a few of ONNX Runtime's in one process of its environment."""

        def job(process: int, folder: Path) -> None:
            plan = {
                "action": "time",
                "plan": asdict(self._effort.plan),
                "seed": seed * 1000 + 500 + process,
            }
            self._run_openvino(plan, methods, folder)

        return self._gather(methods, job)

    def _gather(
        self, methods: Sequence[Method], job: Callable[[int, Path], None]
    ) -> tuple[dict[str, Samples], str]:
        tables: dict[str, list[Array]] = {method.id: [] for method in methods}
        for process in range(self._effort.processes):
            with tempfile.TemporaryDirectory(dir=self._case.folder) as folder:
                try:
                    job(process, Path(folder))
                except (EdgeTransferError, PeerError) as error:
                    return {}, last_words(str(error))
                for name, table in tables.items():
                    table.append(np.load(Path(folder) / f"{name}.npy"))
        return {name: Samples.from_processes(table) for name, table in tables.items()}, ""


def session_of(method: Method) -> dict[str, str]:
    """Return the runtime's settings: ours come with those of this machine's class, as shipped."""
    if method.runtime != ORT or not method.id.startswith("edgetransfer"):
        return {}
    here = catalogue.resolve("this-machine", platform.machine(), frozenset(isa_flags()))
    return dict(here.session.config)


def beside_openvino(methods: Sequence[Method], brought: Sequence[str]) -> list[Method]:
    """Return the rows of the job in OpenVINO's environment."""
    wanted = {FLOAT, BASELINE, *brought}
    return [m for m in methods if m.runtime == OPENVINO or (m.runtime == ORT and m.id in wanted)]
