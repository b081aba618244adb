"""Reads what an agent or another program said and how it ended, wherever it ran."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edgetransfer.agent.outputs import MOST_OUTPUTS, Outputs, output_file
from edgetransfer.agent.system import ending
from edgetransfer.errors import EdgeTransferError, StageError
from edgetransfer.spec.outside import MIB, Kind, parsed, printable, refuse_no_file, validated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgetransfer.spec.progress import Progress
    from edgetransfer.transport.job import Job

_STDERR_LINES = 8
_MOST_WORDS = 4000


def last_words(text: str) -> str:
    """Return the last lines of what a program complained of."""
    return printable("\n".join(text.strip().splitlines()[-_STDERR_LINES:]))[-_MOST_WORDS:]


def ran(
    command: Sequence[str],
    error: Callable[..., EdgeTransferError],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> str:
    """Run a program of this machine to its end, without input, and return what it printed.

    Of one that fails `error` is raised with its last words as `found`; TimeoutExpired of no end.
    """
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=cwd,
        env=env,
        timeout=timeout_s,
    )
    if done.returncode != 0:
        said = last_words(done.stderr) or last_words(done.stdout)
        raise error(found=said or ending(done.returncode))
    return done.stdout


def told(progress: Progress, message: Mapping[str, Any]) -> bool:
    """Pass on how far an agent says it is; return whether it said so in numbers."""
    done, total = message.get("done"), message.get("total")
    if type(done) is not int or not (total is None or type(total) is int):
        return False
    progress(done, total)
    return True


def unfinished(job: Job, returncode: int, stderr: str) -> StageError:
    """Return the error of an agent that ended without a result."""
    ended = ending(returncode) if returncode else "exit code 0, but no result"
    return StageError(
        f"the agent did not finish the job {job.action!r}",
        where=", ".join(variant.model for variant in job.variants) or "agent",
        found=f"{ended}. {last_words(stderr)}".strip(),
    )


ANSWER = Kind("answer of the agent", 64 * MIB, StageError, expected="what our agent says")
_ARRAY = Kind("array of the agent", 1 << 40, StageError)
Milliseconds = Annotated[float, Field(ge=0, le=1e12)]
Mebibytes = Annotated[float, Field(ge=-1e9, le=1e9)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Port(_Answer):
    name: str
    type: str
    shape: list[int | str | None]


class _Model(_Answer):
    sha256: str
    inputs: list[_Port]
    outputs: list[_Port]


class _Given(_Answer):
    outputs: Annotated[list[str], Field(min_length=1, max_length=MOST_OUTPUTS)]
    load_ms: Milliseconds
    first_inference_ms: Milliseconds
    deterministic: bool
    session: dict[str, Any] = Field(default_factory=dict)
    resident_before_mib: Mebibytes | None = None
    resident_after_mib: Mebibytes | None = None
    peak_mib: Mebibytes | None = None
    proportional_mib: Mebibytes | None = None
    peak_is_own: bool | None = None
    repeated: int = 1
    model: _Model | None = None


class _Turn(_Answer):
    name: str
    block: int
    marks: list[str]


class _Probe(_Answer):
    baseline_ns: Annotated[float, Field(gt=0, le=1e15)]
    rel_iqr: Annotated[float, Field(ge=0, le=1e9)]


class _Conditions(_Answer):
    before: dict[str, Any]
    after: dict[str, Any]


class _Times(_Answer):
    warmed_up: dict[str, bool]
    load_ms: dict[str, Milliseconds]
    first_inference_ms: dict[str, Milliseconds]
    outputs: dict[str, list[str]] = Field(default_factory=dict)
    turns: list[_Turn]
    floor_ns: Annotated[float, Field(ge=0, le=1e15)]
    probe: _Probe
    waited_s: Annotated[float, Field(ge=0, le=1e9)]
    stolen_pct: Annotated[float, Field(ge=-1e3, le=1e3)] | None = None
    conditions: _Conditions | None = None


class _Window(_Answer):
    at_s: Annotated[float, Field(ge=0, le=1e9)]
    n: Annotated[int, Field(ge=0)]
    p50_ms: Annotated[float, Field(gt=0, le=1e9)]
    temperatures_c: dict[str, float] = Field(default_factory=dict)
    throttling: dict[str, int] = Field(default_factory=dict)


class _Series(_Answer):
    series: Annotated[list[_Window], Field(min_length=1)]


class _Joules(_Answer):
    mj_per_inference: Annotated[float, Field(ge=0, le=1e12)] | None
    reason: str | None = None
    method: str | None = None


class _Energy(_Answer):
    energy: dict[str, _Joules]


class _Machine(_Answer):
    arch: str | None = None
    isa: list[str] = Field(default_factory=list)
    runtime: str | None = None
    providers: list[str] | None = None
    warnings: list[str] = Field(default_factory=list)


class _Description(_Answer):
    environment: _Machine
    capabilities: dict[str, Any] | None = None


_FORMS: Mapping[str, type[_Answer]] = {
    "outputs": _Given,
    "time": _Times,
    "sustain": _Series,
    "energy": _Energy,
    "describe": _Description,
    "optimise": _Answer,
}


def checked(job: Job, result: Mapping[str, Any], out: Path, where: str) -> Mapping[str, Any]:
    """Return a result that is of its job's form, with the arrays that belong to it.

    StageError where fields or arrays lack, or are something else than the agent gives.
    """
    place = f"{where}, job {job.action!r}"
    validated(_FORMS[job.action], result, place, ANSWER)
    if job.action == "outputs":
        for number in range(len(result["outputs"])):
            _array(out / output_file(number), "f", 1, more=True)
    if job.action == "time":
        for variant in job.variants:
            _array(out / f"{variant.name}.npy", "i", 2)
    return result


def read_outputs(result: Mapping[str, Any], out: Path) -> Outputs:
    """Take what the model gave out of a folder, of a job whose checked result this is.

    The files go, so that those of a job before are never taken for those of the next.
    """
    files = [out / output_file(place) for place in range(len(result["outputs"]))]
    found = Outputs(dict(zip(result["outputs"], map(np.load, files), strict=True)))
    for file in files:
        file.unlink()
    return found


def _array(file: Path, kind: str, axes: int, *, more: bool = False) -> None:
    refuse_no_file(file, _ARRAY)
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _ARRAY.unreadable(file, "no array of numbers in NumPy's format") from error
    fits = isinstance(found, np.ndarray) and found.dtype.kind == kind
    if not fits or (found.ndim < axes if more else found.ndim != axes):
        raise _ARRAY.unreadable(file, f"{found.dtype} {list(found.shape)}")


class Transcript:
    """The agent's lines, as they come: tells of progress, and keeps the result."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.result: Mapping[str, Any] | None = None

    def line(self, line: str) -> None:
        """Take one line; what a library printed, or a crash cut short, says nothing."""
        try:
            message = parsed(line, "agent", ANSWER)
        except StageError:
            return
        event = message.get("event") if isinstance(message, dict) else None
        if event == "progress":
            told(self._progress, message)
        elif event == "result":
            self.result = message
