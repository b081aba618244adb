"""Opens the backbones that ship with the package, and folders that are laid out like them.

It does not train them: `scripts/pretrain_builtin.py` and `edgetransfer pretrain` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetransfer.backbone.files import read_card, read_weights
from edgetransfer.backbone.head import LinearHead
from edgetransfer.backbone.mobilenet import MobileNetV2, MobileNetV2Config
from edgetransfer.backbone.model import Backbone, Modality, Source
from edgetransfer.errors import SpecError
from edgetransfer.spec.preprocess import ImagePreprocessing

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def load(source: Source, modality: Modality) -> Backbone:
    """Open a built-in backbone.

    Raises:
        SpecError: the examples are texts, or the card and the weights do not belong together.
    """
    if modality != "image":
        what = "the built-in" if source.name.startswith("builtin:") else "this"
        raise SpecError(
            f"{what} backbone takes pictures, and the examples are texts",
            where=source.asked,
            fix="give a text encoder: --backbone hf:ORG/NAME or a local folder",
        )
    card, config, network = _read(source)
    return Backbone(
        network=network.eval(),
        feature_dim=config.feature_dim,
        preprocessing=ImagePreprocessing(
            exact=config.input_size,
            interpolation=card["interpolation"],
            mean=tuple(card["mean"]),
            std=tuple(card["std"]),
        ),
        licence=card["license"],
        classifier=_own_classifier(source.path / "classifier.safetensors"),
    )


def _read(source: Source) -> tuple[dict[str, Any], MobileNetV2Config, MobileNetV2]:
    card = read_card(source.path / "card.json")
    weights = read_weights(source.path / "model.safetensors")
    try:
        config = MobileNetV2Config.from_card(card)
        network = MobileNetV2(config)
        network.load_state_dict(weights)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SpecError(
            "not a backbone of edgetransfer's own layout",
            where=source.asked,
            found=" ".join(str(error).split())[:200],
            expected="card.json and model.safetensors as `edgetransfer pretrain` writes them",
        ) from error
    return card, config, network


def _own_classifier(file: Path) -> LinearHead | None:
    """Read the classifier of the source classes, float16 in the file, where there is one."""
    if not file.is_file():
        return None
    found = read_weights(file)
    return LinearHead(*(found[name].float().numpy() for name in ("weight", "bias")))
