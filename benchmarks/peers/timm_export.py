"""Exports a timm network with random weights as the clean float graph that edgetransfer makes.

Options: ``model``, ``size``. ``PYTHONPATH`` holds the repository.
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
import onnx
import torch

if torch.version.cuda is None:
    # torchvision's wheel is built for CUDA; without its library these two lack their schemas.
    _LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, _name):
            _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm

from edgetransfer.graph.trace import Signature, trace


def export(job: dict[str, Any]) -> None:
    """Export with a free batch."""
    torch.manual_seed(0)
    size = job["options"]["size"]
    network = timm.create_model(job["options"]["model"], pretrained=False).eval()
    example = np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32)
    onnx.save(trace(network, [example], Signature(("input",), ("logits",))), job["out"])


if __name__ == "__main__":
    common.timed(export, "timm", "torchvision", "torch", "onnx", "onnxscript")
