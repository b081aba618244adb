"""What the kit for the web has beside its code: the runtime, and a folder for transformers.js."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import onnx

from edgetransfer.bundle.files import read_json, write_json
from edgetransfer.export.onnx_bundle import CONFIG, FOLDER, PICTURES, TOKENIZER
from edgetransfer.spec.preprocess import ImagePreprocessing
from edgetransfer.transport.browser.runtime import prepared

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.bundle.opened import Bundle

_DTYPES = {"w8a8": ("q8", "model_quantized.onnx"), "fp16": ("fp16", "model_fp16.onnx")}
_FLOATS = ("fp32", "model.onnx")
"""What transformers.js calls a number format, and the file that it opens for it."""
_HEADS = {"image": "ForImageClassification", "text": "ForSequenceClassification"}


def write_web(bundle: Bundle, folder: Path) -> Mapping[str, str]:
    """Write ``ort/``, and ``transformers/`` where the backbone came in transformers' layout.

    Return for the README what transformers.js calls the number format, empty without the folder.
    UnsupportedError where the runtime for browsers is not prepared.
    """
    (folder / "ort").mkdir()
    for name, file in prepared("wasm").items():
        shutil.copyfile(file, folder / "ort" / name)
    return {"transformers": _write_transformers(bundle, folder / "transformers")}


def _write_transformers(bundle: Bundle, folder: Path) -> str:
    """Write what `pipeline(...)` of transformers.js opens: configuration, preparation, network."""
    if not bundle.file(CONFIG).is_file():
        return ""
    config, spec = read_json(bundle.file(CONFIG)), bundle.preprocessing
    kind = str(config.get("model_type", "")).title().replace("_", "").replace("-", "")
    dtype, name = _DTYPES.get(bundle.manifest["compression"]["precision"], _FLOATS)
    network = bundle.file("core.onnx")
    if isinstance(spec, ImagePreprocessing):
        network = bundle.file(f"{FOLDER}/model.onnx")  # its input is called pixel_values
        if not network.is_file():
            return ""
    (folder / "onnx").mkdir(parents=True)
    write_json(folder / CONFIG, {**config, "architectures": [f"{kind}{_HEADS[spec.kind]}"]})
    if isinstance(spec, ImagePreprocessing):
        shutil.copyfile(bundle.file(PICTURES), folder / PICTURES)
    else:
        shutil.copyfile(bundle.file(spec.tokenizer), folder / TOKENIZER)
        write_json(folder / "tokenizer_config.json", _tokenizer_config(bundle, spec.max_length))
    model = onnx.load(network)
    del model.metadata_props[:]
    onnx.save(model, folder / "onnx" / name)
    return dtype


def _tokenizer_config(bundle: Bundle, longest: int) -> dict[str, object]:
    """Return what transformers.js asks beside ``tokenizer.json``, which says all else."""
    assert not isinstance(bundle.preprocessing, ImagePreprocessing)  # texts have a tokenizer
    told = read_json(bundle.file(bundle.preprocessing.tokenizer))
    named = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    known = {each["content"] for each in told["added_tokens"]}
    tokens = {key: token for key, token in named.items() if token in known}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest, **tokens}
