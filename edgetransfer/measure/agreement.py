"""Holds what a device computes against what the build host computes from the same file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure import gates
from edgetransfer.measure.drift import CLOSE_DB, Decision, Drift, measure_drift, worst_sqnr_db
from edgetransfer.measure.plain import Missing, decibels

if TYPE_CHECKING:
    from edgetransfer.agent.outputs import Outputs

ADDED_DB = 3.0
"""A device may add as much noise as quantising did: then the sum is 3 dB louder."""


@dataclass(frozen=True)
class Cure:
    """Session settings that were tried on the device because its numbers were wrong without.

    Outputs are the candidate's there with the settings; `targets` names those that have them.
    """

    outputs: Outputs
    config: Mapping[str, str]
    why: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class OnHost:
    """The candidate on the build host, on the tensors that the device got.

    With the config, beside the bundle's, the host computes as the device is meant to; the cure is
    what was tried where the device, maybe an emulated one, disagreed.
    """

    outputs: Outputs
    config: Mapping[str, str]
    cure: Cure | None = None
    emulated: bool = False


@dataclass(frozen=True)
class Agreement:
    """How the candidate on the device stands to the candidate on the host.

    The drift is of the device's outputs from the host's; `host_db` and `device_db` are signal to
    noise against the float reference, dB; `cured` is None where no cure was tried.
    """

    host: OnHost
    drift: Drift
    bit_equal: bool
    max_abs: float
    host_db: float
    device_db: float
    cured: bool | None = None
    cured_bit_equal: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the device adds no more noise than quantising did, or next to none."""
        return _agrees(self.drift, self.host_db, self.device_db)

    def gate(self) -> gates.Gate:
        """G5 on an emulated processor, G6 on a device: FAIL of what quantising does not explain.

        A mistake of a kernel needs no labels to be seen, and accuracy on few pictures may miss it.
        """
        found = self.drift
        if self.bit_equal:
            message = f"all outputs of {found.n} examples are bit-equal to the build host's"
        elif self.agrees:
            message = (
                f"{found.sqnr_db:.1f} dB from the build host's outputs, {found.flips} of {found.n} "
                "decisions differ"
            )
        elif found.non_finite:
            message = f"{found.non_finite} outputs are NaN or Inf that are not on the build host"
        else:
            message = (
                f"the same file computes other numbers there: against the floats "
                f"{self.device_db:.1f} dB instead of {self.host_db:.1f}, "
                f"{found.flips} of {found.n} decisions differ from the build host's"
            )
        if not (self.bit_equal or self.agrees):
            message += f"; {self._remedy()}"
        name, measured = "preview" if self.host.emulated else "device", found.sqnr_db
        numbers = None if found.non_finite else measured, CLOSE_DB, "dB"
        return gates.held(name, self.agrees, message, numbers)

    def _remedy(self) -> str:
        cure = self.host.cure
        if cure is None:
            return "no known setting fixes it: build with --precision fp32 for this device"
        settings = ", ".join(f"{key}={value}" for key, value in cure.config.items())
        if not self.cured:
            return f"{settings} did not fix it: build with --precision fp32 for this device"
        exact = "bit-equal" if self.cured_bit_equal else "as near as they should be"
        build = " or ".join(f"--target {name}" for name in cure.targets)
        return f"cause: {cure.why}; with {settings} they are {exact}: build with {build}"

    def written(self) -> dict[str, Any]:
        """Return the comparison as `report.json` has it."""
        found, cure = self.drift, self.host.cure
        row: dict[str, Any] = {
            "n": found.n,
            "bit_equal": self.bit_equal,
            "max_abs": self.max_abs,
            "flips": found.flips,
            "sqnr_db": Missing("NaN or Inf") if found.non_finite else decibels(found.sqnr_db),
            "host_sqnr_db": decibels(self.host_db),
            "device_sqnr_db": decibels(self.device_db),
            "host_config": dict(self.host.config),
        }
        if cure is not None:
            row["cure"] = {
                "config": dict(cure.config),
                "agrees": self.cured,
                "bit_equal": self.cured_bit_equal,
                "targets": list(cure.targets),
            }
        return row


def compare_with_host(
    reference: Outputs, on_device: Outputs, host: OnHost, decision: Decision
) -> Agreement:
    """Compare outputs on the device with the host's, and both with the floats'."""
    noise = partial(worst_sqnr_db, reference, shift_invariant=decision.shift_invariant)
    drift = measure_drift(host.outputs, on_device, decision)
    host_db = noise(host.outputs)
    tried, cured = None if host.cure is None else host.cure.outputs, None
    if tried is not None:
        cured = _agrees(measure_drift(host.outputs, tried, decision), host_db, noise(tried))
    apart = [np.abs(host.outputs[k].astype(np.float64) - on_device[k]) for k in on_device]
    finite = [float(each[np.isfinite(each)].max(initial=0)) for each in apart]
    return Agreement(
        host=host,
        drift=drift,
        bit_equal=host.outputs.equals(on_device),
        max_abs=max(finite),
        host_db=host_db,
        device_db=noise(on_device) if drift.non_finite == 0 else -np.inf,
        cured=cured,
        cured_bit_equal=tried is not None and host.outputs.equals(tried),
    )


def _agrees(drift: Drift, host_db: float, device_db: float) -> bool:
    if drift.non_finite:
        return False
    return drift.sqnr_db >= CLOSE_DB or device_db >= host_db - ADDED_DB
