"""Which architectures of transformers the exporter takes: small ones with random weights.

Usage: python benchmarks/architectures.py backbone|fitted|optimum RESULT.json [NAME ...]

backbone  open as a backbone (`edgetransfer.backbone`) and trace
fitted    open as a classifier (`--fit none`) and trace
optimum   export the classifier with optimum (environment of its own: `make test-optimum` makes it)

Each graph is compared with torch on three examples, and on one alone, a text without padding.
Rows are added to RESULT.json as they come, and replace those of the same name and exporter.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.backbone import sources
from edgetransfer.errors import EdgeTransferError
from edgetransfer.graph.embed import PREPARED
from edgetransfer.graph.hosted import PARITY_RELATIVE, alone
from edgetransfer.pipeline.stage.stage import versions

SIDE, WORDS = 64, 99
TEXT = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 37, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {**TEXT, "num_key_value_heads": 2, "head_dim": 16}
LETTERS = {
    "vocab_size": WORDS, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}  # fmt: skip
DECODER = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0}
PICTURE = {
    "image_size": SIDE, "patch_size": 16, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 37,
}  # fmt: skip
STAGES = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "image_size": SIDE}
MAPS = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
PICTURES: dict[str, dict[str, Any]] = {
    "ViT": PICTURE, "DeiT": PICTURE, "Beit": PICTURE, "Data2VecVision": PICTURE,
    "ViTMSN": PICTURE, "Dinov2": PICTURE, "Dinov2WithRegisters": PICTURE, "IJepa": PICTURE,
    "DINOv3ViT": PICTURE, "CLIPVision": PICTURE, "SiglipVision": PICTURE,
    "Swin": {**STAGES, "window_size": 4, "patch_size": 4},
    "Swinv2": {**STAGES, "window_size": 4, "patch_size": 4},
    "FocalNet": {"embed_dim": 16, "depths": [1, 1], "hidden_sizes": [8, 16], "image_size": SIDE,
                 "focal_levels": [2, 2], "focal_windows": [3, 3]},
    "Hiera": {"embed_dim": 16, "image_size": [SIDE, SIDE], "patch_stride": [4, 4],
              "patch_size": [7, 7], "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]},
    "ConvNext": MAPS, "ConvNextV2": MAPS,
    "ResNet": {**MAPS, "embedding_size": 8},
    "RegNet": {**MAPS, "embedding_size": 8, "groups_width": 4},
    "Bit": {**MAPS, "embedding_size": 8, "num_groups": 1},
    "MobileNetV1": {"depth_multiplier": 0.25, "image_size": SIDE},
    "MobileNetV2": {"depth_multiplier": 0.25, "image_size": SIDE},
    "EfficientNet": {"image_size": SIDE, "width_coefficient": 0.25, "depth_coefficient": 0.3,
                     "hidden_dim": 320},
    "MobileViT": {"image_size": SIDE, "hidden_sizes": [16, 24, 32], "num_attention_heads": 2,
                  "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32]},
    "MobileViTV2": {"image_size": SIDE, "width_multiplier": 0.25},
    "Levit": {"image_size": SIDE, "hidden_sizes": [16, 32, 48], "num_attention_heads": [1, 2, 3],
              "key_dim": [8, 8, 8], "depths": [1, 1, 1]},
    "PoolFormer": {**MAPS, "num_encoder_blocks": 4},
    "Pvt": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": SIDE,
            "num_attention_heads": [1, 2, 2, 4]},
    "PvtV2": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "image_size": SIDE,
              "num_attention_heads": [1, 2, 2, 4]},
    "Segformer": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
                  "num_attention_heads": [1, 2, 2, 4]},
    "Cvt": {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 2, 3],
            "drop_path_rate": [0.0, 0.0, 0.1]},
    "SwiftFormer": {"embed_dims": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "image_size": SIDE},
    "HGNetV2": {},
    "CLIP": {"vision_config": PICTURE, "text_config": TEXT},
    "Siglip": {"vision_config": PICTURE, "text_config": TEXT},
}  # fmt: skip
TEXTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ["Bert", "Roberta", "XLMRoberta", "Camembert", "Electra", "MPNet", "MegatronBert", "Ernie",
         "RemBert", "RoFormer", "Nystromformer", "ConvBert", "Data2VecText", "Esm", "Deberta",
         "DebertaV2", "IBert", "Yoso", "Mra", "ModernBert", "EuroBert", "NomicBert"], TEXT
    ),
    "Albert": {**TEXT, "embedding_size": 16},
    "SqueezeBert": {**TEXT, "embedding_size": 32, "intermediate_size": 40},
    "MobileBert": {**TEXT, "embedding_size": 16, "intra_bottleneck_size": 16},
    "FNet": TEXT,
    "BigBird": {**TEXT, "attention_type": "block_sparse", "block_size": 16},
    "Longformer": {**TEXT, "attention_window": 16},
    "DistilBert": {"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 37},
    "Funnel": {"vocab_size": WORDS, "block_sizes": [1, 1], "d_model": 32, "n_head": 2,
               "d_head": 16, "d_inner": 37},
    "XLNet": {"vocab_size": WORDS, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 37},
    "XLM": {"vocab_size": WORDS, "emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "Flaubert": {"vocab_size": WORDS, "emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "T5": {"vocab_size": WORDS, "d_model": 32, "d_kv": 16, "d_ff": 37, "num_layers": 2,
           "num_heads": 2, "decoder_start_token_id": 0, "eos_token_id": 2},
    "Bart": LETTERS, "MBart": LETTERS,
    **dict.fromkeys(
        ["Llama", "Mistral", "Gemma", "Gemma2", "Qwen2", "Qwen3", "Phi", "Phi3", "GPTNeoX",
         "SmolLM3"], GROUPED
    ),
    "OPT": {**TEXT, "ffn_dim": 37, "word_embed_proj_dim": 32},
    "GPTNeo": {"vocab_size": WORDS, "hidden_size": 32, "num_layers": 2, "num_heads": 2,
               "attention_types": [[["global", "local"], 1]], "pad_token_id": 0},
    "GPT2": DECODER, "GPTBigCode": DECODER, "GPTJ": {**DECODER, "rotary_dim": 8},
    "Mpt": {"vocab_size": WORDS, "d_model": 32, "n_layers": 2, "n_heads": 2, "pad_token_id": 0},
    "Bloom": {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0},
    "Perceiver": {"num_latents": 8, "d_latents": 16, "d_model": 16, "num_blocks": 1,
                  "num_self_attends_per_block": 1, "num_self_attention_heads": 2,
                  "num_cross_attention_heads": 2, "vocab_size": WORDS,
                  "max_position_embeddings": 128},
}  # fmt: skip
CONTRACT = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": SIDE, "width": SIDE},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


def write(name: str, modality: str, folder: Path) -> None:
    """Save a small classifier of an architecture, or its encoder where it has no classifier."""
    sizes = {**(PICTURES if modality == "image" else TEXTS)[name], "num_labels": 3}
    task = "ForImageClassification" if modality == "image" else "ForSequenceClassification"
    config = getattr(transformers, f"{name}Config")(**sizes)
    torch.manual_seed(0)
    whole = getattr(transformers, name + task, None) or getattr(transformers, f"{name}Model")
    whole(config).eval().save_pretrained(folder)
    if modality == "image":
        (folder / "preprocessor_config.json").write_text(json.dumps(CONTRACT))
        return
    from tokenizers import Tokenizer, models

    words = {f"w{index}": index for index in range(WORDS)}
    Tokenizer(models.WordLevel(words, unk_token="w1")).save(str(folder / "tokenizer.json"))


def inputs(modality: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return three examples: noise, or words up to an end (2), one text of them shorter."""
    rng = np.random.default_rng(0)
    if modality == "image":
        return {PREPARED: rng.normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)}
    ids, mask = rng.integers(3, WORDS, (3, 24)), np.ones((3, 24), dtype=np.int64)
    ids[:, -1], ids[2, 9], ids[2, 10:], mask[2, 10:] = 2, 2, 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def ours(folder: Path, modality: str, exporter: str) -> dict[str, Any]:
    """Open as a backbone, or as a classifier, and trace."""
    from edgetransfer.pipeline.fit.trace import traced

    load = sources.load if exporter == "backbone" else sources.load_fitted
    opened = load(sources.locate(str(folder)), modality)
    return traced(opened.network, inputs(modality))[1]


def by_optimum(folder: Path, modality: str) -> dict[str, Any]:
    """Export the whole classifier with optimum, and compare it with torch as ours is."""
    from optimum.exporters.onnx import main_export

    given = inputs(modality)
    batches = (given, alone(given))
    classifier = sources.load_fitted(sources.locate(str(folder)), modality).network
    with torch.no_grad():  # before optimum, which patches transformers for good
        expected = [classifier(*map(torch.from_numpy, each.values())).numpy() for each in batches]
    task = "image-classification" if modality == "image" else "text-classification"
    with tempfile.TemporaryDirectory() as out:
        main_export(str(folder), out, task=task, opset=18, do_validation=False, dtype="fp32")
        session = OnnxSession(Path(out) / "model.onnx")
    differences = []
    for batch, logits in zip(batches, expected, strict=True):
        fed = {"pixel_values": batch[PREPARED]} if modality == "image" else with_types(batch)
        actual = session.run({name: fed[name] for name in session.input_names})[0]
        differences.append(float(np.abs(actual - logits).max()))
    span = float(np.ptp(expected[0]))
    if max(differences) > PARITY_RELATIVE * span:
        raise ValueError(f"differs from torch by {differences} of a range of {span}")
    return {"max_abs": max(differences), "range": span}


def with_types(texts: dict[str, Any]) -> dict[str, Any]:
    """Add what optimum may ask for: one segment, positions, global attention to the first token."""
    ids = texts["input_ids"]
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    first = (places == 0).astype(np.int64)
    extra = {"token_type_ids": 0 * ids, "position_ids": places, "global_attention_mask": first}
    return {**texts, **extra}


def survey(name: str, modality: str, exporter: str) -> dict[str, Any]:
    """Return what came of one architecture."""
    row: dict[str, Any] = {"name": name, "modality": modality, "exporter": exporter}
    try:
        with tempfile.TemporaryDirectory() as folder:
            write(name, modality, Path(folder))
            if exporter == "optimum":
                return {**row, "takes": True, **by_optimum(Path(folder), modality)}
            return {**row, "takes": True, **ours(Path(folder), modality, exporter)}
    except EdgeTransferError as error:
        return {**row, "takes": False, "why": str(error).replace(folder, "FOLDER")}
    except Exception as error:  # whatever the libraries raise is the finding
        return {**row, "takes": False, "why": f"{type(error).__name__}: {str(error)[:200]}"}


def main() -> None:
    """Print a line an architecture, and add it to the file."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    exporter, file, only = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    record = json.loads(file.read_text()) if file.is_file() else {"versions": {}, "rows": []}
    installed = ("torch", "transformers", "optimum", "optimum-onnx", "onnxruntime")
    record["versions"][exporter] = versions(*installed)
    for modality, known in (("image", PICTURES), ("text", TEXTS)):
        for name in known:
            if only and name not in only:
                continue
            row = survey(name, modality, exporter)
            print(json.dumps(row), flush=True)
            same = (name, exporter)
            others = [each for each in record["rows"] if (each["name"], each["exporter"]) != same]
            record["rows"] = [*others, row]
            file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
