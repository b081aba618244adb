"""Opens networks from a folder in timm layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edgetransfer.backbone.files import PILLOW, read_config, read_timm, read_weights
from edgetransfer.backbone.model import Backbone, LinearHead, Source
from edgetransfer.errors import MissingExtraError, SpecError, first_line
from edgetransfer.spec.preprocess import ImagePreprocessing, Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def load(source: Source, modality: Modality) -> Backbone:
    """Open a timm network without its classifier; SpecError of texts or another's weights."""
    if modality != "image":
        raise source.refused("timm networks take pictures, and the examples are texts")
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "timm", purpose=source.asked) from error
    config = read_config(source.path / "config.json")
    pretrained = read_timm(config, source.path / "config.json")
    try:
        network = timm.create_model(config["architecture"], pretrained=False, num_classes=0)
    except (RuntimeError, TypeError, ValueError) as error:
        raise source.refused(
            "timm cannot make this network", found=f"{config['architecture']}: {first_line(error)}"
        ) from error
    weights = read_weights(source.path / "model.safetensors")
    missing, _ = network.load_state_dict(weights, strict=False)
    if missing:
        raise source.refused(
            f"the weights are not those of {config['architecture']}",
            found="missing: " + ", ".join(missing[:5]),
        )
    preprocessing = from_timm(pretrained)
    with torch.no_grad():
        features = network.eval()(torch.zeros(1, 3, *preprocessing.output_size))
    # Not num_features: some heads of timm have a hidden layer behind those.
    feature_dim = features.shape[1]
    return Backbone(
        network=network,
        feature_dim=feature_dim,
        preprocessing=preprocessing,
        licence=pretrained.get("license"),
        classifier=_own_classifier(pretrained.get("classifier"), weights, feature_dim),
    )


def _own_classifier(
    name: object, weights: dict[str, Tensor], feature_dim: int
) -> LinearHead | None:
    """Return the checkpoint's classifier, where it is one linear layer on the features."""
    weight, bias = weights.get(f"{name}.weight"), weights.get(f"{name}.bias")
    if weight is None or bias is None or weight.numel() != len(weight) * feature_dim:
        return None
    flat = weight.float().reshape(len(weight), feature_dim)
    return LinearHead(flat.numpy(), bias.float().numpy())


def from_timm(config: Mapping[str, Any]) -> ImagePreprocessing:
    """Translate timm's ``pretrained_cfg``: resize to size / crop_pct, then crop.

    ``center`` resizes the short side, ``squash`` both. The centre may lie a pixel beside timm's,
    which rounds half of an odd margin to even where transformers rounds down. SpecError of an
    interpolation or crop mode that is not known, or not for that size.
    """
    _, height, width = config.get("test_input_size") or config["input_size"]
    interpolation = config.get("interpolation", "bilinear")
    crop_mode = config.get("crop_mode", "center")
    known = crop_mode == "squash" or (crop_mode == "center" and height == width)
    if interpolation not in PILLOW.values() or not known:
        raise SpecError(
            "a way to prepare pictures that is not known",
            where="pretrained_cfg",
            found=f"interpolation {interpolation}, crop mode {crop_mode} to {height} x {width}",
            expected="nearest, bilinear or bicubic; center (to a square) or squash",
        )
    crop_pct = config.get("test_crop_pct") or config.get("crop_pct", 0.875)
    scaled = int(height / crop_pct), int(width / crop_pct)
    squash = crop_mode == "squash"
    return ImagePreprocessing.model_validate(
        {
            "exact": scaled if squash else None,
            "shortest_edge": None if squash else scaled[0],
            "crop": (height, width),
            "interpolation": interpolation,
            "mean": tuple(config["mean"]),
            "std": tuple(config["std"]),
        }
    )
