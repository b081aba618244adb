"""Builds in one process after the other, each of which kills itself without warning.

At or in a stage, or when a timer says so. The processes are forks of one that has imported all that
a build does, which would take longer than most of them live. Prints how each ended, as JSON.

Usage: killed.py DATA OUT CACHE (FIT | distill) (STAGE NAME | SECONDS S | NEVER -)...
"""

import importlib
import json
import os
import signal
import sys
import threading
import traceback

IMPORTED = (
    "edgetransfer", "torch.onnx", "onnxscript", "onnx", "onnxruntime", "sklearn.linear_model",
    "edgetransfer.pipeline.build", "edgetransfer.export.onnx_bundle",
)  # fmt: skip


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Killer:
    def __init__(self, stage):
        self.stage = stage

    def begin(self, stage):
        if self.stage == f"begin {stage}":
            die()
        if self.stage == f"half of {stage}":
            return lambda done, total: die() if 2 * done >= total else None
        return lambda done, total: None

    def end(self, stage, summary, *, reused):
        if self.stage == f"end {stage}":
            die()


def build(data, out, cache, fit, how, when):
    if how == "SECONDS":
        timer = threading.Timer(float(when), die)
        timer.daemon = True
        timer.start()
    import torch

    import edgetransfer
    from edgetransfer.pipeline.ladder.ladder import Ladder
    from edgetransfer.tasks.classification.train import choice
    from edgetransfer.transport import job

    torch.set_num_threads(1)
    choice.RACED_STEPS = 2
    Ladder.runtimes = lambda *_: {}  # it tells of other runtimes, and changes nothing
    plan = job.TimingPlan(blocks=6, warmup_s=0.02, warmup_max_s=0.3)
    job.EFFORTS |= {"quick": job.Effort(2, plan, most=2)}
    reporter = Killer(when if how == "STAGE" else None)
    how_to_fit = {"distill_from": "builtin:tiny-64"} if fit == "distill" else {"fit": fit}
    # Only integers are as small: else the clock says whether they or floats are shipped.
    how_to_ship = {"max_size_mib": 1.0, "timing": "quick"}
    options = {**how_to_fit, **how_to_ship, "epochs": 2, "reporter": reporter}
    edgetransfer.build(data, out=out, cache=cache, **options)


def forked(*words):
    """Build in a fork; return its exit code, negative for the signal that ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        build(*words)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def main():
    data, out, cache, fit, *moments = sys.argv[1:]
    for name in IMPORTED:
        importlib.import_module(name)
    pairs = zip(moments[::2], moments[1::2], strict=True)
    sys.stdout.write(json.dumps([forked(data, out, cache, fit, how, when) for how, when in pairs]))


if __name__ == "__main__":
    main()
