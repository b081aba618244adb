"""Builds, and kills itself without warning: at or in a stage, or when a timer says so.

Usage: killed.py DATA OUT CACHE (FIT | distill) (STAGE NAME | SECONDS S | NEVER -)
"""

import os
import signal
import sys
import threading


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


def main():
    data, out, cache, fit, how, when = sys.argv[1:]
    if how == "SECONDS":
        timer = threading.Timer(float(when), die)
        timer.daemon = True
        timer.start()
    import torch

    import edgetransfer

    torch.set_num_threads(1)
    reporter = Killer(when if how == "STAGE" else None)
    how_to_fit = {"distill_from": "builtin:tiny-64"} if fit == "distill" else {"fit": fit}
    options = {**how_to_fit, "epochs": 2, "timing": "quick", "reporter": reporter}
    edgetransfer.build(data, out=out, cache=cache, **options)


if __name__ == "__main__":
    main()
