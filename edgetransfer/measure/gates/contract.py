"""G0: the files that ran there are those that were built, and do what they promise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgetransfer.measure.gates.gate import Gate, held, not_run
from edgetransfer.measure.plain import Missing

if TYPE_CHECKING:
    from edgetransfer.measure.proofs import Contract, Integrity, Port

WHOLE_TOLERANCE = 1e-3
"""Largest difference between model.onnx and core.onnx, over the range of the outputs."""
TAKES: Mapping[tuple[int, int], tuple[int, int]] = {
    (1, 19): (21, 10),
    (1, 23): (23, 11),
    (1, 24): (25, 13),
    (1, 32): (28, 14),
}
"""Newest opset and file format of releases of ONNX Runtime that were tried
(`shared/design/devices.md` section 0.1); a release between two takes what the older one does."""


def contract(proof: Contract | Missing) -> Gate:
    """FAIL where an input or output is not as promised, or the oldest runtime would refuse."""
    if isinstance(proof, Missing):
        return not_run("contract", proof.reason)
    wrong = [
        *(
            f"{file} has {_told(found)}, expected {_told(promised)}"
            for file, promised in proof.promised.items()
            for found in [proof.found.get(file, ())]
            if not _fit(promised, found)
        ),
        *_too_new(proof),
        *([proof.why_not] if proof.loads is False else []),
    ]
    ports = sum(len(each) for each in proof.promised.values())
    kept = f"{ports} inputs and outputs of {len(proof.promised)} files are as promised"
    version = f"opset {proof.opset}, IR {proof.ir_version}, opened by {proof.runtime}"
    version += ", which a child process imports" if proof.loads else ""
    told = f"{'; '.join(wrong) or kept} ({version})"
    return held("contract", not wrong, told, (len(wrong), 0, "mismatches"))


def takes(version: str) -> tuple[int, int] | None:
    """Newest opset and IR that a release of ONNX Runtime reads, None where none was tried.

    >>> takes("1.19.2"), takes("1.25.0"), takes("1.12")
    ((21, 10), (25, 13), None)
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        return None
    release = int(found[1]), int(found[2])
    tried = [each for each in TAKES if each <= release]
    return TAKES[max(tried)] if tried else None


def integrity(proof: Integrity | Missing) -> Gate:
    """FAIL where a file there is another one, or model.onnx does not give core.onnx's outputs."""
    if isinstance(proof, Missing):
        return not_run("integrity", proof.reason)
    digests = proof.digests.items()
    wrong = [f"{file} is another file there" for file, (mine, its) in digests if mine != its]
    usual = WHOLE_TOLERANCE * max(proof.whole_range, 1.0)
    if not proof.whole_max_abs <= max(usual, proof.quantising_max_abs):
        wrong.append(
            "model.onnx does not give the outputs of core.onnx: they differ by "
            f"{proof.whole_max_abs:.3g} on {proof.examples} examples"
        )
    same = f"{len(digests)} files there have the digests of those here; " if digests else ""
    kept = (
        f"{same}model.onnx gives the outputs of core.onnx within {proof.whole_max_abs:.1e} "
        f"on {proof.examples} examples"
    )
    if proof.whole_max_abs > usual:
        kept += (
            f"; the runtime rounds once what both files round twice, and quantising moved outputs "
            f"by {proof.quantising_max_abs:.1e}"
        )
    told = "; ".join(wrong) or kept
    return held("integrity", not wrong, told, (len(wrong), 0, "mismatches"))


def _too_new(proof: Contract) -> list[str]:
    """Say what the oldest runtime that the target promises would not read."""
    limits = None if proof.oldest is None else takes(proof.oldest)
    if limits is None:
        return []
    opset, ir_version = limits
    told = f"the oldest runtime that the target names, {proof.oldest}, reads"
    return [
        *([f"{told} opset {opset} at most"] if proof.opset > opset else []),
        *([f"{told} IR {ir_version} at most"] if proof.ir_version > ir_version else []),
    ]


def _fit(promised: Sequence[Port], found: Sequence[Port]) -> bool:
    return len(promised) == len(found) and all(
        a.fits(b) for a, b in zip(promised, found, strict=True)
    )


def _told(ports: Sequence[Port]) -> str:
    return ", ".join(map(str, ports)) or "nothing"
