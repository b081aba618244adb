"""What the kit for the web has beside its code: the runtime, and a folder for transformers.js."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.bundle.files import read_json, write_json
from edgetransfer.export.onnx_bundle import CONFIG, PICTURES, PIXELS, TOKENIZER
from edgetransfer.graph.embed import by_channels, whole_model
from edgetransfer.spec.preprocess import ImagePreprocessing
from edgetransfer.transport.browser.runtime import prepared

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.bundle.opened import Bundle
    from edgetransfer.spec.preprocess import TextPreprocessing

_SUFFIXES = {"fp32": "", "fp16": "_fp16", "q8": "_quantized"}
"""What transformers.js calls a number format, and how the name of the file for it ends."""
_STANDS_FOR = {"image": "vit", "text": "bert"}
"""It runs every encoder as it runs these, but refuses a kind whose name it does not know."""

_PICTURES = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), False),
}
"""It hands over what it decodes: to resize and cut out it has another way in every browser."""


def write_web(bundle: Bundle, folder: Path) -> Mapping[str, str]:
    """Write ``ort/`` and ``transformers/``; UnsupportedError where that runtime is not prepared.

    The templates need nothing of them.
    """
    (folder / "ort").mkdir()
    for name, file in prepared("wasm").items():
        shutil.copyfile(file, folder / "ort" / name)
    write_transformers_js(bundle, folder / "transformers")
    return {}


def write_transformers_js(bundle: Bundle, folder: Path) -> None:
    """Write what `pipeline(...)` of transformers.js opens as it is: configuration, network.

    The network is there as it ships, and in floats.
    """
    spec = bundle.preprocessing
    precision = bundle.manifest["compression"]["precision"]
    dtype = "q8" if precision == "w8a8" else precision
    (folder / "onnx").mkdir(parents=True)
    write_json(folder / CONFIG, _config(bundle.labels, spec.kind, dtype))
    if isinstance(spec, ImagePreprocessing):
        write_json(folder / PICTURES, _PICTURES)
    else:
        tokenizer = bundle.file(spec.tokenizer)
        shutil.copyfile(tokenizer, folder / TOKENIZER)
        write_json(folder / "tokenizer_config.json", _tokenizer_config(tokenizer, spec))
    reference, shipped = (onnx.load(bundle.file(name)) for name in ("reference.onnx", "model.onnx"))
    networks = {"fp32": whole_model(reference, spec), dtype: shipped}
    for called, network in networks.items():
        if isinstance(spec, ImagePreprocessing):
            network = by_channels(network, PIXELS)
        del network.metadata_props[:]
        onnx.save(network, folder / "onnx" / f"model{_SUFFIXES[called]}.onnx")


def _config(labels: tuple[str, ...], kind: str, dtype: str) -> dict[str, Any]:
    return {
        "model_type": _STANDS_FOR[kind],
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
        "transformers.js_config": {"dtype": dtype},
    }


def _tokenizer_config(tokenizer: Path, spec: TextPreprocessing) -> dict[str, Any]:
    """Return what transformers.js asks beside ``tokenizer.json``, which says all else."""
    named = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    known = {each["content"] for each in read_json(tokenizer)["added_tokens"]}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": spec.max_length,
        **{key: token for key, token in named.items() if token in known},
    }
