"""Writes what the libraries of Hugging Face ask of a folder: `config.json`, picture preparation.

Of models it only writes the one whose input has the name that optimum feeds; the others are the
bundle's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from edgetransfer.bundle.files import write_json
from edgetransfer.graph.finished import finished
from edgetransfer.spec.preprocess import ImagePreprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.spec.preprocess import TextPreprocessing

CONFIG, PICTURES = "config.json", "preprocessor_config.json"
FOLDER, PIXELS = "optimum", "pixel_values"
"""Where optimum's picture classifier finds the network, and what it calls the input."""
_FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}
"""As Pillow numbers them, which transformers does too."""


def write_transformers_files(
    folder: Path,
    config: Mapping[str, Any],
    labels: Sequence[str],
    preprocessing: ImagePreprocessing | TextPreprocessing,
) -> None:
    """Write ``config.json`` and, for pictures, ``preprocessor_config.json``.

    Args:
        folder: the bundle.
        config: ``config.json`` of the backbone, in transformers' form.
        labels: the classes, in the order of the logits.
        preprocessing: the contract, which the second file says in transformers' words.
    """
    # The graph has another head than the backbone's own class would make.
    kept = {key: value for key, value in config.items() if key not in ("architectures", "auto_map")}
    names = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }
    write_json(folder / CONFIG, {**kept, **names})
    if isinstance(preprocessing, ImagePreprocessing):
        write_json(folder / PICTURES, picture_preparation(preprocessing))


def write_picture_classifier(
    folder: Path,
    core: onnx.ModelProto,
    config: Mapping[str, Any],
    labels: Sequence[str],
    preprocessing: ImagePreprocessing,
) -> None:
    """Write ``optimum/``, which `ORTModelForImageClassification` opens.

    It feeds prepared tensors, and by the name ``pixel_values`` only: so the folder holds
    ``core.onnx`` with its input called that, beside copies of the two files.

    Args:
        folder: the bundle.
        core: prepared tensor -> logits.
        config: ``config.json`` of the backbone, in transformers' form.
        labels: the classes, in the order of the logits.
        preprocessing: the contract.
    """
    within = folder / FOLDER
    within.mkdir()
    model = ir.from_proto(core)
    model.graph.inputs[0].name = PIXELS
    onnx.save(finished(ir.to_proto(model), "export"), within / "model.onnx")
    write_transformers_files(within, config, labels, preprocessing)


def picture_preparation(spec: ImagePreprocessing) -> dict[str, Any]:
    """Return the contract as CLIP's image processor takes it: it knows every step of ours.

    >>> made = picture_preparation(ImagePreprocessing(shortest_edge=256, crop=(224, 224)))
    >>> made["size"], made["crop_size"], made["resample"]
    ({'shortest_edge': 256}, {'height': 224, 'width': 224}, 2)
    """
    crop = None if spec.crop is None else _sides(spec.crop)
    size = {"shortest_edge": spec.shortest_edge} if spec.exact is None else _sides(spec.exact)
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": size,
        "resample": _FILTERS[spec.interpolation],
        "do_center_crop": crop is not None,
        **({} if crop is None else {"crop_size": crop}),
        "do_rescale": True,
        "rescale_factor": spec.rescale,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }


def _sides(size: tuple[int, int]) -> dict[str, int]:
    return {"height": size[0], "width": size[1]}
