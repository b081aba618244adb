"""Turns what was observed and timed into the plain rows of the JSON."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from compressing.judging import session_of
from compressing.methods import BASELINE, FLOAT, OPENVINO
from edgetransfer.measure.drift import sqnr_db
from edgetransfer.measure.speed.latency import Samples, speedup, summarise
from edgetransfer.tasks.classification.judge.metrics import decisions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compressing.judging import Observed
    from compressing.making import Made
    from compressing.methods import Method

Array = np.ndarray[Any, Any]


def row(
    method: Method,
    made: Made,
    seen: Observed,
    reference: Array | None,
    answers: Array | None,
    times: tuple[Mapping[str, Samples], str],
) -> dict[str, Any]:
    """Return one row; what could not be had is None, and `reason` says why.

    Args:
        method: whose row.
        made: its file.
        seen: its logits and residency.
        reference: the float logits, None where they mean nothing.
        answers: positions of the true labels.
        times: samples of its job by row, and a reason where there are none.
    """
    result: dict[str, Any] = {
        "id": method.id,
        "method": method.title,
        "runtime": method.runtime,
        "session": session_of(method),
        "reason": made.reason or seen.reason or times[1],
        "bytes": made.bytes() if made.file is not None else None,
        "residency": seen.residency,
        "made_s": None if method.source else made.facts.get("seconds"),
        "made_cpu_s": None if method.source else made.facts.get("cpu_seconds"),
        "made_by": made.facts.get("versions", {}),
    }
    # A file that is brought along is its own source and still tells its seconds.
    if method.source == method.id and made.facts:
        result |= {
            "made_s": made.facts.get("seconds"),
            "made_cpu_s": made.facts.get("cpu_seconds"),
        }
    return result | _accuracy(seen.logits, reference, answers) | _times(method.id, times[0])


def _accuracy(
    logits: Array | None, reference: Array | None, answers: Array | None
) -> dict[str, Any]:
    if logits is None or reference is None or answers is None:
        return dict.fromkeys(("top1", "correct", "n", "flips", "sqnr_db"))
    chosen = decisions(logits)
    noise = sqnr_db(reference, logits) if np.isfinite(logits).all() else float("nan")
    correct = int(np.sum(chosen == answers))
    return {
        "top1": correct / len(answers),
        "correct": correct,
        "n": len(answers),
        "flips": int(np.sum(chosen != decisions(reference))),
        "sqnr_db": noise if isfinite(noise) else None,
    }


def _times(name: str, samples: Mapping[str, Samples]) -> dict[str, Any]:
    if name not in samples:
        keys = ("cpu_p50_ms", "wall_p50_ms", "calls")
        ratios = ("cpu_vs_float", "wall_vs_float", "cpu_vs_baseline", "wall_vs_baseline")
        return dict.fromkeys((*keys, *ratios))
    own = summarise(samples[name])
    told: dict[str, Any] = {
        "cpu_p50_ms": own.cpu_p50_ms,
        "wall_p50_ms": own.p50_ms,
        "calls": own.n,
    }
    for label, against in (("float", FLOAT), ("baseline", BASELINE)):
        told |= {f"cpu_vs_{label}": None, f"wall_vs_{label}": None}
        if against in samples and against != name:
            both = speedup(samples[against], samples[name])
            told[f"cpu_vs_{label}"] = asdict(both.cpu)
            told[f"wall_vs_{label}"] = asdict(both.wall)
    return told


def is_openvino(method: Method) -> bool:
    """Say whether a row belongs to the job in OpenVINO's environment."""
    return method.runtime == OPENVINO
