"""Reads somebody else's files of a backbone within limits, its contract too; checks its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from edgetransfer.errors import SpecError, first_line
from edgetransfer.spec.outside import MIB, Kind, explain, json_of, refuse_no_file, some, validated
from edgetransfer.spec.preprocess import FILTERS, ImagePreprocessing, Interpolation, Pixels

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgetransfer.backbone.model import Source


PILLOW = {number: name for name, number in FILTERS.items()}
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


_FLOATS = {"F64", "F32", "F16", "BF16"}


def check_weights(source: Source, network: nn.Module) -> None:
    """Raise a SpecError where opened weights are integers in the file, not finite, or all zero."""
    integers = []
    for file in sorted(source.path.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            names = opened.keys()  # a safetensors file is no mapping: it is not iterated by itself
            kinds = {name: str(opened.get_slice(name).get_dtype()) for name in names}
        integers += [
            f"{name} ({kind})"
            for name, kind in kinds.items()
            if kind not in _FLOATS and name.endswith((".weight", ".bias"))
        ]
    if integers:
        raise source.refused(
            "the weights are no floating point numbers of 16 bits or more",
            found=some(integers),
            expected="the float network: a quantised one is no reference to measure a drop against",
        )
    named = [(name, each) for name, each in network.named_parameters() if each.is_floating_point()]
    import torch

    with torch.no_grad():
        bad = [name for name, each in named if not bool(torch.isfinite(each).all())]
        wide = [each for _, each in named if each.ndim > 1]
        empty = bool(wide) and not any(bool(each.any()) for each in wide)
    if bad or empty:
        raise source.refused(
            "the weights are not finite numbers" if bad else "all weights are zero",
            found=some(bad) if bad else None,
            fix="save or download them again, from a training that did not diverge",
        )


_theirs = partial(Kind, error=SpecError, once=False)
CONFIG = _theirs(
    "model configuration", 16 * MIB, expected="config.json as transformers or timm writes it"
)
PREPROCESSOR = _theirs(
    "way to prepare pictures", MIB, expected="preprocessor_config.json as transformers writes it"
)
CARD = Kind(
    "card of a backbone",
    MIB,
    SpecError,
    expected="card.json and model.safetensors as `edgetransfer pretrain` writes them",
)
WEIGHTS = Kind("file of weights", 1 << 46, SpecError, expected="a .safetensors file")
Factor = Annotated[float, Field(ge=1e-6, le=1e6)]
Three = Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=3, max_length=3)]
Scales = Annotated[list[Factor], Field(min_length=3, max_length=3)]


class _Their(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


def _sides(value: Any) -> Any:  # noqa: ANN401 (checked here)
    """Check a size: one number of pixels, a number for each of some sides, or none."""
    for each in value.values() if isinstance(value, dict) else [value]:
        number = isinstance(each, int | float) and not isinstance(each, bool)
        if each is not None and not isinstance(each, list) and not (number and 1 <= each <= 4096):
            raise ValueError("should be pixels, from 1 to 4096")
    return value


def _sides_of_crop(value: Any) -> Any:  # noqa: ANN401 (checked here)
    if isinstance(value, list) or (isinstance(value, dict) and value.keys() != {"height", "width"}):
        raise ValueError("should be pixels, or height and width")
    return _sides(value)


class _Preprocessor(_Their):
    """``preprocessor_config.json``."""

    image_processor_type: str | None = None
    feature_extractor_type: str | None = None
    do_resize: bool | None = None
    do_center_crop: bool | None = None
    do_rescale: bool | None = None
    do_normalize: bool | None = None
    include_top: bool | None = None
    size: Annotated[Any, AfterValidator(_sides)] = None
    crop_size: Annotated[Any, AfterValidator(_sides_of_crop)] = None
    crop_pct: Annotated[float, Field(ge=0.01, le=1)] | None = None
    resample: int | None = None
    rescale_factor: Factor = 1 / 255
    image_mean: Three | None = None
    image_std: Scales | None = None

    @model_validator(mode="after")
    def _cropped_to(self) -> _Preprocessor:
        if self.do_center_crop and "crop_size" in self.model_fields_set and self.crop_size is None:
            raise ValueError("crop_size should be given where do_center_crop is true")
        return self


class _Config(_Their):
    """``config.json``, of transformers or of timm."""

    model_type: str | None = None
    architecture: str | None = None
    architectures: list[str] | None = None


class _Timm(_Their):
    """``pretrained_cfg`` of a timm folder."""

    input_size: Annotated[list[Pixels], Field(min_length=3, max_length=3)]
    test_input_size: Annotated[list[Pixels], Field(min_length=3, max_length=3)] | None = None
    interpolation: str = "bilinear"
    crop_mode: str = "center"
    crop_pct: Annotated[float, Field(ge=0.01, le=1)] = 0.875
    test_crop_pct: Annotated[float, Field(ge=0.01, le=1)] | None = None
    mean: Three
    std: Scales
    license: str | None = None


Layers = Annotated[int, Field(ge=1, le=1 << 16)]


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    steps: Annotated[int, Field(ge=0, le=10_000)] = 0
    head_rate: float = 0.0
    body_rate: float = 0.0


class _Meta(_Their):
    """How a start was learnt by ``edgetransfer pretrain``."""

    inner: _Inner


class _Card(_Their):
    """``card.json`` of our own layout."""

    input_size: Annotated[list[Pixels], Field(min_length=2, max_length=2)]
    width: Annotated[float, Field(gt=0, le=16)]
    blocks: list[Annotated[list[Layers], Field(min_length=4, max_length=4)]]
    feature_dim: Layers
    mean: Three
    std: Scales
    interpolation: Interpolation
    license: str | None
    meta: _Meta | None = None


def _object(path: Path, form: type[BaseModel], kind: Kind) -> dict[str, Any]:
    value: dict[str, Any] = json_of(path, kind)
    validated(form, value, path, kind)
    return value


def read_config(path: Path) -> dict[str, Any]:
    """Read ``config.json``; the SpecError of one that does not fit names every such field."""
    return _object(path, _Config, CONFIG)


def read_preprocessor(path: Path) -> dict[str, Any]:
    """Read ``preprocessor_config.json``, a number a channel; the SpecError names all misfits."""
    value: dict[str, Any] = json_of(path, PREPROCESSOR)
    for key in ("image_mean", "image_std") if isinstance(value, dict) else ():
        if isinstance(value.get(key), float):
            value[key] = [value[key]] * 3
    validated(_Preprocessor, value, path, PREPROCESSOR)
    return value


def read_timm(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the contract within a timm configuration; a SpecError names all that does not fit."""
    found: dict[str, Any] = config.get("pretrained_cfg", config)
    validated(_Timm, found, path, CONFIG)
    return found


def read_card(path: Path) -> dict[str, Any]:
    """Read ``card.json``; a SpecError names every field that does not fit."""
    return _object(path, _Card, CARD)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file; a SpecError where it is none."""
    from safetensors.torch import load_file

    refuse_no_file(path, WEIGHTS)
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise WEIGHTS.unreadable(path, first_line(error)) from error
    return found
