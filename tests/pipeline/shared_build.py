"""Builds as one of several processes; what a launcher starts in `test_together`.

Usage: shared_build.py DATA OUT CACHE OPTIONS [RANK]; the process of that rank fails as it begins to
train.
"""

import json
import os
import sys

import torch

import edgetransfer
from edgetransfer.errors import EdgeTransferError
from edgetransfer.tasks.classification.fit import finetune


def fail(*_, **__):
    raise MemoryError


def main():
    data, out, cache, options, *failing = sys.argv[1:]
    torch.set_num_threads(1)
    if failing == [os.environ["RANK"]]:
        finetune.train_network = fail
    try:
        edgetransfer.build(data, out=out, cache=cache, processes=2, **json.loads(options))
    except EdgeTransferError as error:
        sys.exit(f"told: {error}")
    except MemoryError as error:
        sys.exit(f"told: {error!r}")


if __name__ == "__main__":
    main()
