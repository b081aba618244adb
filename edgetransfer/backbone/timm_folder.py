"""Opens networks from a folder in timm layout.

It does not download: `sources` does.
"""

from __future__ import annotations

import json

from safetensors.torch import load_file

from edgetransfer.backbone import contract
from edgetransfer.backbone.model import Backbone, Modality, Source
from edgetransfer.errors import MissingExtraError, SpecError


def load(source: Source, modality: Modality) -> Backbone:
    """Open a timm network without its classifier.

    Raises:
        SpecError: the examples are texts, or the weights are of another architecture.
        MissingExtraError: timm is not installed.
    """
    if modality != "image":
        raise SpecError(
            "timm networks take pictures, and the examples are texts",
            where=source.asked,
        )
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "timm", purpose=source.asked) from error
    config = json.loads((source.path / "config.json").read_text(encoding="utf-8"))
    network = timm.create_model(config["architecture"], pretrained=False, num_classes=0)
    weights = load_file(source.path / "model.safetensors")
    missing, _ = network.load_state_dict(weights, strict=False)
    if missing:
        raise SpecError(
            f"the weights are not those of {config['architecture']}",
            where=source.asked,
            found="missing: " + ", ".join(missing[:5]),
        )
    pretrained = config.get("pretrained_cfg", config)
    return Backbone(
        network=network.eval(),
        feature_dim=int(network.num_features),
        preprocessing=contract.from_timm(pretrained),
        licence=pretrained.get("license"),
    )
