"""Which architectures of transformers the exporter takes: small ones with random weights.

Usage: python benchmarks/architectures.py ours|optimum RESULT.json [NAME ...]

ours     open as a backbone (`edgetransfer.backbone`), trace, and compare with torch
optimum  optimum's exporter (environment of its own: `make test-optimum` makes it), whole
         classifiers, validated by optimum against torch

Rows are added to RESULT.json as they come.
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

from edgetransfer.backbone import sources
from edgetransfer.errors import EdgeTransferError
from edgetransfer.graph.embed import PREPARED

SIDE, WORDS = 64, 99
TEXT = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 37, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
LETTERS = {
    "vocab_size": WORDS, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}  # fmt: skip
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
    "EfficientNet": {"image_size": SIDE, "width_coefficient": 0.25, "depth_coefficient": 0.3},
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
    "Cvt": {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 1, 1],
            "drop_path_rate": [0.0, 0.0, 0.1]},
    "SwiftFormer": {"embed_dims": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "image_size": SIDE},
    "HGNetV2": {},
}  # fmt: skip
TEXTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ["Bert", "Roberta", "XLMRoberta", "Camembert", "Electra", "MPNet", "MegatronBert", "Ernie",
         "RemBert", "RoFormer", "Nystromformer", "ConvBert", "Data2VecText", "Esm", "Deberta",
         "DebertaV2", "IBert", "Yoso", "Mra", "ModernBert", "EuroBert", "NomicBert"], TEXT
    ),
    "Albert": {**TEXT, "embedding_size": 16},
    "SqueezeBert": {**TEXT, "embedding_size": 32},
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
           "num_heads": 2},
    "Bart": LETTERS, "MBart": LETTERS,
    "GPT2": {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 0},
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
    """Return three examples: noise, or words with padding at the end of one text."""
    rng = np.random.default_rng(0)
    if modality == "image":
        return {PREPARED: rng.normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)}
    ids, mask = rng.integers(3, WORDS, (3, 24)), np.ones((3, 24), dtype=np.int64)
    ids[2, 20:], mask[2, 20:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def ours(folder: Path, modality: str) -> dict[str, Any]:
    """Open as a backbone and trace."""
    from edgetransfer.pipeline.tracing import traced

    backbone = sources.load(sources.locate(str(folder)), modality)
    return traced(backbone.network, inputs(modality))[1]


def by_optimum(folder: Path, modality: str) -> dict[str, Any]:
    """Export the whole classifier with optimum, which compares it with torch."""
    from optimum.exporters.onnx import main_export

    task = "image-classification" if modality == "image" else "text-classification"
    with tempfile.TemporaryDirectory() as out:
        main_export(str(folder), out, task=task, opset=18, do_validation=True, dtype="fp32")
        return {"bytes": (Path(out) / "model.onnx").stat().st_size}


def survey(name: str, modality: str, exporter: str) -> dict[str, Any]:
    """Return what came of one architecture."""
    row: dict[str, Any] = {"name": name, "modality": modality}
    try:
        with tempfile.TemporaryDirectory() as folder:
            write(name, modality, Path(folder))
            work = ours if exporter == "ours" else by_optimum
            return {**row, "takes": True, **work(Path(folder), modality)}
    except EdgeTransferError as error:
        return {**row, "takes": False, "why": str(error)}
    except Exception as error:  # whatever the libraries raise is the finding
        return {**row, "takes": False, "why": f"{type(error).__name__}: {str(error)[:200]}"}


def main() -> None:
    """Print a line an architecture, and write all."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    exporter, file, only = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    rows = []
    for modality, known in (("image", PICTURES), ("text", TEXTS)):
        for name in known:
            if only and name not in only:
                continue
            rows.append(survey(name, modality, exporter))
            print(json.dumps(rows[-1]), flush=True)
            versions = {each.__name__: each.__version__ for each in (torch, transformers)}
            record = {"exporter": exporter, "versions": versions, "rows": rows}
            file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
