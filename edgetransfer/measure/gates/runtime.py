"""G8, G11, latency and size: integers are run where the bundle has them, that pays, and fits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgetransfer.measure.gates.gate import Gate, Status, apart, held, not_run, number
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.stats.intervals import samples_needed

if TYPE_CHECKING:
    from edgetransfer.measure.proofs import IntendedPrecision
    from edgetransfer.measure.speed.latency import LatencySummary, Speedup

MIB = 2**20


def latency(
    summary: LatencySummary | None, max_latency_ms: float, invalid: Sequence[str] = ()
) -> Gate:
    """Hold the interval of core.onnx's 90th percentile; without (valid) times the gate is open."""
    limit = f"of {number(max_latency_ms)} ms allowed"
    measured = None if summary is None else summary.p90_ms
    status: Status = "INCONCLUSIVE"
    if summary is None:
        message = f"not measured, {limit}"
    elif invalid:
        message = f"p90 {summary.p90_ms:.2f} ms {limit}, but not valid: {'; '.join(invalid)}"
    elif summary.p90_ci95_ms is None:
        need = f"its interval needs {samples_needed(0.9)} samples, there are {summary.n}"
        message = f"p90 {summary.p90_ms:.2f} ms {limit}; {need}"
    else:
        low, high = summary.p90_ci95_ms
        if high < max_latency_ms:
            status = "PASS"
        elif low > max_latency_ms:
            status = "FAIL"
        message = f"p90 {summary.p90_ms:.2f} ms [{low:.2f}, {high:.2f}] {limit}"
    return held("latency", status, message, (measured, max_latency_ms, "ms"))


def size(candidate_bytes: int, max_size_mib: float) -> Gate:
    """Holds the exact size of model.onnx against the limit."""
    mib = candidate_bytes / MIB
    told = f"{apart(mib, max_size_mib, 2)} MiB of {number(max_size_mib)} MiB allowed"
    return held("size", mib <= max_size_mib, told, (mib, max_size_mib, "MiB"))


SMALLER = 2.0
"""How many times smaller a candidate of the same speed has to be."""
NAMED = 8
"""Operators named in a message; the report has all."""


def residency(found: Mapping[str, Any], intended: IntendedPrecision | Missing) -> Gate:
    """FAIL where a convolution that the bundle has in integers runs in float.

    Layers that the ladder left in float on purpose, and all of a model in floats, are as intended.
    `found` is empty where the optimised graph was not looked at.
    """
    if isinstance(intended, Missing) or found.get("float_conv") is None:
        reason = intended.reason if isinstance(intended, Missing) else "the graph was not looked at"
        return not_run("residency", reason)
    wanted = len(intended.float_conv)
    surplus = max(0, int(found["float_conv"]) - wanted)
    whole = int(found["float_conv"]) + int(found["int8_conv"])
    on_purpose = f", {wanted} in float on purpose" if wanted else ""
    message = f"{found['int8_conv']} of {whole} Conv run in int8{on_purpose}"
    if not whole:
        message = "no Conv among the operators"
    elif intended.int8_conv == 0 and not surplus:
        message = f"all {whole} Conv are floats on purpose"
    if surplus:
        names = _surprising(found, intended)
        told = f": {', '.join(names[:NAMED])}" if names else ""
        rest = ", and more" if len(names) > NAMED else ""
        message = f"{surplus} Conv that the bundle has in int8 run in float{told}{rest}"
    return held("residency", not surplus, message, (surplus, 0, "Conv"))


def _surprising(found: Mapping[str, Any], intended: IntendedPrecision) -> list[str]:
    """Names of convolutions in float that are not so on purpose, as far as names were kept."""
    floats = [str(name) for name in found.get("float_ops") or () if "conv" in str(name).lower()]
    named = {each: re.sub(r" \(\w+\)$", "", each.partition(" ")[2]) for each in floats}
    return [each for each in floats if named[each] not in intended.float_conv] or floats


def performance(
    speedup: Speedup | None, precision: str, sizes: tuple[int, int], max_size_mib: float | None
) -> Gate:
    """Warns where floats would serve better: slower, or the same speed and not much smaller.

    `sizes` are bytes of the float model and of the candidate; without times nothing is said.
    """
    if precision == "fp32":
        return not_run("performance", "floats are shipped", decides=False)
    if speedup is None or speedup.wall.ratio is None:
        return not_run("performance", "not timed in this run", decides=False)
    smaller, ratio, kind = sizes[0] / max(sizes[1], 1), speedup.wall.ratio, speedup.wall.speed
    pays = kind == "FASTER" or (kind == "SAME" and smaller >= SMALLER)
    status: Status = "PASS" if pays else "INCONCLUSIVE" if kind == "UNDECIDED" else "FAIL"
    words = {
        "FASTER": f"{ratio:.2f} x as fast as floats",
        "SLOWER": f"{1 / ratio:.2f} x slower than floats",
        "SAME": "as fast as floats",
        "UNDECIDED": "undecided whether faster than floats",
    }
    message = f"{precision} is {words[kind]} here, and {smaller:.1f} x smaller"
    if status == "FAIL":
        fits = max_size_mib is None or sizes[0] / MIB <= max_size_mib
        cure = "--precision fp32 may serve better"
        message += f": {cure if fits else f'floats would not fit {number(max_size_mib or 0)} MiB'}"
    return held("performance", status, message, (ratio, 1.0, "x"), decides=False)
