"""Runs the model beside this file by TensorRT, on an NVIDIA Jetson.

TensorRT takes prepared tensors alone: pictures are prepared by ``prepare.onnx``, in ONNX Runtime on
the processor, and what comes out goes to an engine of ``core.onnx``. The engine is built here, by
the first program that opens the model (minutes), and kept in ``~/.cache/edgetransfer/engines``.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, Tuple, TypeVar

import numpy as np
import onnx_model
from onnx_model import CONTRACT, Array, KitError, Run, decode, lines_of

sys.path.insert(0, str(Path(__file__).parent / "agent.pyz"))
from edgetransfer.agent.runtimes import Unavailable
from edgetransfer.agent.runtimes.tensorrt.session import TensorRtSession

__all__ = ["CONTRACT", "KIT", "Array", "EdgeModel", "KitError", "decode", "lines_of"]
KIT = "jetson"
Answer = TypeVar("Answer")


class TensorRtModel(onnx_model.EdgeModel):
    """The model of a folder, opened once."""

    def _opened(self, threads: int) -> Tuple[str, Run]:
        # The GPU's context belongs to the thread that made it; a server answers in many.
        self._one = ThreadPoolExecutor(max_workers=1)
        session = self._alone(self._engine)
        place = session.output_names.index(self.settings["output"])
        prepare = None
        if not self.takes_texts:
            _, prepare = self._by_onnx_runtime("prepare.onnx", None, threads)

        def run(feeds: Dict[str, Array]) -> Array:
            given = feeds if prepare is None else {session.input_names[0]: prepare(feeds)}
            return np.float32(self._alone(lambda: session.run(given))[place])

        return str(session.facts["runtime"]), run

    def _alone(self, work: Callable[[], Answer]) -> Answer:
        try:
            return self._one.submit(work).result()
        except Unavailable as error:
            raise KitError(f"{self.folder}: {error}") from error

    def _engine(self) -> TensorRtSession:
        config = {k: v for k, v in self.settings.items() if k.startswith("tensorrt.")}
        file = str(self.folder / "core.onnx")
        return TensorRtSession(file, config, self.settings["provider"], tell=_told)


def _told(phase: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    words = f"\rbuilding an engine: {phase}, {done} of {total}"
    print(words, end=end, file=sys.stderr, flush=True)


EdgeModel = TensorRtModel
