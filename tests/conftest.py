"""What all tests share: timm is opened beside a torch without CUDA."""

import importlib.util

import torch

_LIBRARY = None
if torch.version.cuda is None and importlib.util.find_spec("torchvision") is not None:
    # torchvision's wheel is for a torch with CUDA and its binary does not load beside this one, so
    # the two operators it describes while it is imported have to be declared. They are never run.
    _LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
