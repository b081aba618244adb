"""Runs the shipped network on the build host too, and seeks what mends a device that disagrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.agent.environment import architecture
from edgetransfer.graph.hosted import exact_here
from edgetransfer.spec import catalogue
from edgetransfer.transport.job import Job, Variant
from edgetransfer.transport.local import Local

if TYPE_CHECKING:
    from edgetransfer.spec.target import TargetSpec
    from edgetransfer.transport.place import Place

_SIGNED_AS_ON_ARM = {"session.qdqisint8allowed": "1"}
"""On x86 ONNX Runtime makes signed activations unsigned and leaves some layers in float; with this
entry it computes what it computes on Arm (bit-equal on 20 of 20 pictures)."""


def oracle(activation: str | None, device_arch: str) -> dict[str, str]:
    """Return the settings with which this machine computes what the device is meant to.

    `activation` is the type of the activations' codes, None where they are floats.
    """
    if activation == "s8" and architecture() == "x86_64" and device_arch.startswith("arm"):
        return dict(_SIGNED_AS_ON_ARM)  # beside what makes weights unsigned it finds no kernel
    return exact_here()


def agree(
    place: Place,
    candidate: Variant,
    activation: str | None,
    environment: Mapping[str, Any],
    room: Path,
) -> dict[str, Any]:
    """Run the candidate here, and on the device with the settings of its class if they differ.

    In `room` lies ``candidate.logits.npy`` of the device; writes ``host.logits.npy``, and
    ``cured.logits.npy`` where something was tried. For `activation` see `oracle`.
    """
    asked = oracle(activation, str(environment.get("arch")))
    config = {key: value for key, value in asked.items() if key not in candidate.config}
    here = replace(candidate, config={**candidate.config, **config}, provider=_CPU, runtime=_OWN)
    host = _logits(Local(), here, room, "host")
    record: dict[str, Any] = {"config": config, "emulated": place.emulated}
    if np.array_equal(host, np.load(room / "candidate.logits.npy")):
        return record
    remedy = _remedy(environment, candidate.config) if candidate.provider == _CPU else None
    if remedy is not None:
        settings = remedy.session.config
        there = replace(candidate, config={**candidate.config, **settings})
        _logits(place, there, room, "cured")
        record["cure"] = {
            "config": settings,
            "why": remedy.session.why or f"this is {remedy.title}",
            "targets": [remedy.name],
        }
    return record


_CPU = "CPUExecutionProvider"
_OWN = "onnxruntime"


def _logits(place: Place, variant: Variant, room: Path, name: str) -> np.ndarray[Any, Any]:
    place.run(Job("logits", (variant,)), room)
    (room / "logits.npy").rename(room / f"{name}.logits.npy")
    rows: np.ndarray[Any, Any] = np.load(room / f"{name}.logits.npy")
    return rows


def _remedy(environment: Mapping[str, Any], tried: Mapping[str, str]) -> TargetSpec | None:
    """Return the class of the device, where its sessions have settings that were not tried."""
    best = catalogue.class_of(str(environment.get("arch")), frozenset(environment.get("isa", ())))
    if best is None or best.session.config.items() <= dict(tried).items():
        return None
    return best
