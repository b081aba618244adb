"""Reads the preprocessing contract out of the file that transformers keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgetransfer.backbone.files import read_preprocessor
from edgetransfer.errors import SpecError
from edgetransfer.spec.outside import explain
from edgetransfer.spec.preprocess import ImagePreprocessing

PILLOW = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_STEPS = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"}
_NO_STEPS = {"do_reduce_labels"}
"""Concerns the labels of segmentation."""
_SQUARE = {"ViT", "DeiT", "Beit", "EfficientNet", "Pvt", "Segformer"}
_SHORTEST = {"CLIP", "ConvNext", "MobileNetV1", "MobileNetV2", "Levit", "Bit", "PoolFormer"}
"""What the classes of transformers make of ``size`` where it is one number, as in old files."""
_CONVNEXT_EXACT_FROM = 384
"""ConvNextImageProcessor squeezes to the exact size from here on instead of cropping."""
_CONVNEXT_CROP_PCT = 224 / 256
_LEVIT_RATIO = 256 / 224


def from_transformers(file: Path) -> ImagePreprocessing:
    """Translate a ``preprocessor_config.json``; SpecError where any of it lacks or is not known."""
    if not os.path.lexists(file):
        raise SpecError(
            "the backbone does not say how its pictures are prepared",
            where=str(file),
            found="no such file",
            fix="copy preprocessor_config.json of the original model into the folder",
        )
    raw = read_preprocessor(file)
    _refuse_unknown_steps(raw, file)
    resample = raw.get("resample", 2)
    if resample not in PILLOW:
        raise SpecError(
            "a resampling filter that standard ONNX cannot reproduce",
            where=str(file),
            found=f"resample = {resample}",
            expected="0 (nearest), 2 (bilinear) or 3 (bicubic)",
        )
    fields = {**_geometry(raw, file), "interpolation": PILLOW[resample], **_scaling(raw, file)}
    try:
        return ImagePreprocessing.model_validate(fields)
    except ValidationError as error:
        raise SpecError(explain(error), where=str(file)) from error


def _kind(raw: Mapping[str, Any]) -> str:
    """Return the class that wrote the file, less what all are called: ``ViT``, ``ConvNext``."""
    name = str(raw.get("image_processor_type") or raw.get("feature_extractor_type") or "")
    return name.removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")


def _refuse_unknown_steps(raw: Mapping[str, Any], file: Path) -> None:
    unknown = [
        f"{key} = true"
        for key, value in raw.items()
        if value is True
        and (key == "rescale_offset" or (key[:3] == "do_" and key not in _STEPS | _NO_STEPS))
    ]
    if raw.get("do_resize") is False:
        unknown.append("do_resize = false")
    if _kind(raw) == "Perceiver":
        unknown.append("a crop before the resize")
    if unknown:
        raise SpecError(
            "a way to prepare pictures that is not known",
            where=str(file),
            found=", ".join(unknown),
            expected="resize, centre crop, rescale, normalise, in this order",
        )


def _scaling(raw: Mapping[str, Any], file: Path) -> dict[str, Any]:
    rescale = raw.get("rescale_factor", 1 / 255) if raw.get("do_rescale", True) else 1.0
    mean, std = raw.get("image_mean"), raw.get("image_std")
    if not raw.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if mean is None or std is None:
        raise SpecError(
            "the numbers to normalise with are missing",
            where=str(file),
            expected="image_mean and image_std, or do_normalize = false",
        )
    if raw.get("include_top") and _kind(raw) == "EfficientNet":
        std = [each * each for each in std]  # that class divides twice
    return {"rescale": rescale, "mean": tuple(mean), "std": tuple(std)}


def _pair(size: int | Mapping[str, int]) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return int(size["height"]), int(size["width"])


def _size(raw: Mapping[str, Any]) -> Mapping[str, int] | None:
    """Return ``size`` as a table; None where it is not known what it means."""
    size = raw.get("size")
    if isinstance(size, int):
        if _kind(raw) in _SQUARE:
            return {"height": size, "width": size}
        known = _kind(raw) in _SHORTEST or "crop_pct" in raw
        return {"shortest_edge": size} if known else None
    return size if isinstance(size, dict) else None


def _geometry(raw: Mapping[str, Any], file: Path) -> dict[str, Any]:
    size = _size(raw)
    crop = _pair(raw["crop_size"]) if raw.get("do_center_crop") and raw.get("crop_size") else None
    by_share = "crop_pct" in raw or _kind(raw) == "ConvNext"
    if size is not None and set(size) == {"height", "width"} and not by_share:
        return {"exact": _pair(size), "crop": crop}
    if size is None or set(size) != {"shortest_edge"}:
        raise SpecError(
            "a way to resize that is not known",
            where=str(file),
            found=f"size = {raw.get('size')}" + (f" of {_kind(raw)}" if _kind(raw) else ""),
            expected="size.shortest_edge" + ("" if by_share else ", or size.height and size.width"),
        )
    edge = size["shortest_edge"]
    square = crop or (edge, edge)
    if by_share:
        if crop is None and edge >= _CONVNEXT_EXACT_FROM:
            return {"exact": square}
        share = raw.get("crop_pct") or _CONVNEXT_CROP_PCT
        return {"shortest_edge": int(edge / share), "crop": square}
    if _kind(raw) == "Levit":
        return {"shortest_edge": int(_LEVIT_RATIO * edge), "crop": square}
    return {"shortest_edge": edge, "crop": square}
