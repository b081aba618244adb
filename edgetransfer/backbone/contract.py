"""Reads the preprocessing contract out of the files that transformers and timm keep.

It does not guess: a step it does not know is an error that names it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import SpecError
from edgetransfer.spec.preprocess import ImagePreprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PILLOW = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_CONVNEXT_EXACT_FROM = 384
"""ConvNextImageProcessor squeezes to the exact size from here on instead of cropping."""


def _pair(size: int | Mapping[str, int]) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return int(size["height"]), int(size["width"])


def from_transformers(file: Path) -> ImagePreprocessing:
    """Translate a ``preprocessor_config.json``.

    Raises:
        SpecError: the file is missing, or asks for a resize or resampling that is not known.
    """
    if not file.is_file():
        raise SpecError(
            "the backbone does not say how its pictures are prepared",
            where=str(file),
            found="no such file",
            fix="copy preprocessor_config.json of the original model into the folder",
        )
    raw = json.loads(file.read_text(encoding="utf-8"))
    resample = raw.get("resample", 2)
    if resample not in _PILLOW:
        raise SpecError(
            "a resampling filter that standard ONNX cannot reproduce",
            where=str(file),
            found=f"resample = {resample}",
            expected="0 (nearest), 2 (bilinear) or 3 (bicubic)",
        )
    normalise = raw.get("do_normalize", True)
    return ImagePreprocessing.model_validate(
        {
            **_geometry(raw, file),
            "interpolation": _PILLOW[resample],
            "rescale": raw.get("rescale_factor", 1 / 255) if raw.get("do_rescale", True) else 1.0,
            "mean": tuple(raw["image_mean"]) if normalise else (0.0, 0.0, 0.0),
            "std": tuple(raw["image_std"]) if normalise else (1.0, 1.0, 1.0),
        }
    )


def _geometry(raw: Mapping[str, Any], file: Path) -> dict[str, Any]:
    size = raw.get("size", {})
    crop = _pair(raw["crop_size"]) if raw.get("do_center_crop") and "crop_size" in raw else None
    if isinstance(size, int) or "height" in size:
        return {"exact": _pair(size), "crop": crop}
    edge = size.get("shortest_edge")
    if edge is None:
        raise SpecError(
            "a way to resize that is not known",
            where=str(file),
            found=f"size = {size}",
            expected="shortest_edge, or height and width",
        )
    if "crop_pct" in raw:
        if edge >= _CONVNEXT_EXACT_FROM:
            return {"exact": (edge, edge)}
        return {"shortest_edge": int(edge / raw["crop_pct"]), "crop": (edge, edge)}
    return {"shortest_edge": edge, "crop": crop or (edge, edge)}


def from_timm(config: Mapping[str, Any]) -> ImagePreprocessing:
    """Translate timm's ``pretrained_cfg``: resize the short side to size / crop_pct, then crop.

    Raises:
        SpecError: an interpolation or crop mode that standard ONNX cannot reproduce.
    """
    _, height, width = config.get("test_input_size") or config["input_size"]
    interpolation = config.get("interpolation", "bilinear")
    crop_mode = config.get("crop_mode", "center")
    if interpolation not in _PILLOW.values() or crop_mode not in ("center", "squash"):
        raise SpecError(
            "a way to prepare pictures that standard ONNX cannot reproduce",
            where="pretrained_cfg",
            found=f"interpolation {interpolation}, crop mode {crop_mode}",
            expected="nearest, bilinear or bicubic; center or squash",
        )
    crop_pct = config.get("test_crop_pct") or config.get("crop_pct", 0.875)
    scaled = int(height / crop_pct), int(width / crop_pct)
    whole = crop_mode == "squash" or height != width
    return ImagePreprocessing.model_validate(
        {
            "exact": scaled if whole else None,
            "shortest_edge": None if whole else scaled[0],
            "crop": (height, width),
            "interpolation": interpolation,
            "mean": tuple(config["mean"]),
            "std": tuple(config["std"]),
        }
    )
