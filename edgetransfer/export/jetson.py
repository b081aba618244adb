"""What the kit for a Jetson has beside its code: the agent, which knows TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetransfer.bundle.agent_archive import AGENT, pack_agent
from edgetransfer.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.bundle.opened import Bundle


def write_jetson(bundle: Bundle, folder: Path) -> Mapping[str, str]:
    """Write ``agent.pyz``; return for the README what brings TensorRT to the device.

    UnsupportedError for a bundle of a target that does not run TensorRT.
    """
    runtime = bundle.target.runtime
    if runtime is None or not runtime.builds_engines:
        raise UnsupportedError(
            "this kit runs TensorRT, and the bundle is for another runtime",
            where=str(bundle.folder),
            found=f"target {bundle.target.name}",
            expected="a target of TensorRT, see `edgetransfer targets`",
            fix="build for such a target, or export --for linux",
        )
    pack_agent(folder / AGENT)
    return {"install": runtime.install or f"pip install {runtime.package}"}
