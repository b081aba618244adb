"""Opens networks from a folder in transformers layout: encoders, and fitted classifiers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgetransfer.backbone import files
from edgetransfer.backbone.files import CONFIG, read_config
from edgetransfer.backbone.model import Backbone, FittedModel, LinearHead, Source, linear_head
from edgetransfer.errors import MissingExtraError
from edgetransfer.graph import tokens
from edgetransfer.spec.outside import json_of
from edgetransfer.spec.preprocess import ImagePreprocessing, Modality, TextPreprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from tokenizers import Tokenizer

    Contract = Callable[
        [Source, nn.Module], tuple[ImagePreprocessing | TextPreprocessing, Path | None]
    ]


class PooledImageEncoder(nn.Module):
    """Pictures ``[N, 3, h, w]`` -> features ``[N, D]``, pooled as the weights were trained."""

    def __init__(self, encoder: nn.Module, *, use_pooler: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.use_pooler = use_pooler

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Take the pooler where it is trained, else the mean over space or the class token."""
        output = self.encoder(pixel_values)
        if self.use_pooler:
            return torch.flatten(output.pooler_output, 1)
        hidden: Tensor = output.last_hidden_state
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, 0]


class PooledTextEncoder(nn.Module):
    """Token ids and mask ``[N, L]`` -> features ``[N, D]``: class token, or mean over tokens."""

    def __init__(self, encoder: nn.Module, *, class_token: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.class_token = class_token

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool the last hidden state."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden: Tensor = output.last_hidden_state
        if self.class_token:
            return hidden[:, 0]
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


class Logits(nn.Module):
    """A transformers classifier's logits; inputs are named, as GPT-2's second is not the mask."""

    def __init__(self, classifier: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.classifier = classifier
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the classifier."""
        logits: Tensor = self.classifier(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


_FRONT_MATTER = 16_384
_LONGEST_TEXT = 512
"""Tokens kept where neither network nor tokenizer says how many it takes."""
_LONGEST_FITTED = 128
"""Tokens kept where a head is fitted here: what a device can run in time."""
_NO_LIMIT = 1_000_000
"""A tokenizer that takes texts of any length says so by a huge number."""
_ENCODER_ALONE = {"t5", "mt5", "umt5"}
"""Kinds whose encoder opens without their decoder, which wants an input of its own."""
_UNTRAINED = "some weights are not in the file and would be random"


def _refuse_other_modality(source: Source, modality: Modality) -> None:
    """Notice a text encoder for pictures, or the reverse, before the library opens it."""
    pictures = (source.path / "preprocessor_config.json").is_file()
    texts = (source.path / "tokenizer.json").is_file() or (source.path / "vocab.txt").is_file()
    if pictures != texts and not {"image": pictures, "text": texts}[modality]:
        raise source.refused(
            "this is a text encoder, and the examples are pictures"
            if texts
            else "this network takes pictures, and the examples are texts"
        )


def _open(auto_class: str, source: Source) -> tuple[nn.Module, set[str]]:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "hf", purpose=source.asked) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    quantised = read_config(source.path / "config.json").get("quantization_config")
    if quantised:
        raise source.refused(
            "the model is quantised already",
            found=f"quantization_config in config.json: {str(quantised)[:80]}",
            expected="the float model: the drop is measured against it",
        )
    try:
        network, loading = getattr(transformers, auto_class).from_pretrained(
            source.path,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # found below, in words
        )
    except (ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise source.refused(
            f"transformers cannot open it as {auto_class}",
            found=_words(error),
            expected="a picture or text encoder",
        ) from error
    # transformers 4 lists names, 5 lists names with both shapes.
    odd = [each if isinstance(each, str) else each[0] for each in loading["mismatched_keys"]]
    _refuse(source, "some weights have another shape than config.json says", odd)
    return network.eval(), set(loading["missing_keys"])


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or repr(error)


def _refuse(source: Source, what: str, weights: Iterable[str]) -> None:
    if found := ", ".join(sorted(weights)[:5]):
        raise source.refused(what, found=found)


def _licence(folder: Path) -> str | None:
    """Read the licence from the front matter of a model card."""
    readme = folder / "README.md"
    if not readme.is_file():
        return None
    with readme.open("rb") as file:
        lines = file.read(_FRONT_MATTER).decode(errors="replace").splitlines()[:60]
    stated = (line.partition(":")[2].strip() for line in lines if line.startswith("license:"))
    return next(stated, "") or None


def load(source: Source, modality: Modality) -> Backbone:
    """Open an encoder with its pooling.

    SpecError where it is none of that modality, weights lack, or it has no contract;
    MissingExtraError without transformers.
    """
    _refuse_other_modality(source, modality)
    config = read_config(source.path / "config.json")
    alone = config.get("model_type") in _ENCODER_ALONE
    whole, missing = _open("AutoModelForTextEncoding" if alone else "AutoModel", source)
    return _ENCODERS[modality](source, whole, missing, config)


def _refuse_untrained(
    source: Source, network: nn.Module, whole: nn.Module, missing: set[str]
) -> set[str]:
    """Return the missing weights that are a pooler's, which is then not used; refuse others.

    Those of the network alone count, whatever the whole lacks that it is a part of.
    """
    within = {id(each) for each in network.state_dict(keep_vars=True).values()}
    named = whole.state_dict(keep_vars=True)
    missing = {key for key in missing if key in named and id(named[key]) in within}
    pooler = {key for key in missing if "pooler" in key}
    _refuse(source, _UNTRAINED, missing - pooler)
    return pooler


def _text_encoder(
    source: Source, network: nn.Module, missing: set[str], config: Mapping[str, Any]
) -> Backbone:
    _refuse_untrained(source, network, network, missing)
    told: Any = network.config
    width = getattr(told, "hidden_size", None)
    if width is None:
        raise source.refused(
            f"{type(network).__name__} does not say how wide its features are",
            expected="a text encoder with hidden_size in its configuration",
        )
    pooling = source.path / "1_Pooling" / "config.json"  # the mean is usual
    first = pooling.is_file() and read_config(pooling).get("pooling_mode_cls_token") is True
    encoder = PooledTextEncoder(network, class_token=first)
    preprocessing, tokenizer = _text_contract(source, network, _LONGEST_FITTED)
    licence = _licence(source.path)
    return Backbone(encoder, int(width), preprocessing, licence, tokenizer, config=config)


def _picture_encoder(
    source: Source, whole: nn.Module, missing: set[str], config: Mapping[str, Any]
) -> Backbone:
    # Of CLIP and its like the half for pictures, whether the other is in the file or not.
    network = getattr(whole, "vision_model", whole)
    pooler = _refuse_untrained(source, network, whole, missing)
    preprocessing, _ = _picture_contract(source, network)
    example = torch.zeros(1, 3, *preprocessing.output_size)
    try:
        with torch.no_grad():
            has_pooler = getattr(network(example), "pooler_output", None) is not None
            encoder = PooledImageEncoder(network, use_pooler=has_pooler and not pooler).eval()
            feature_dim = encoder(example).shape[1]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise source.refused(
            f"{type(network).__name__} does not make features of pictures alone",
            found=_words(error),
            expected="a picture encoder",
        ) from error
    classifier = _own_classifier(source, network, encoder, example)
    licence = _licence(source.path)
    return Backbone(encoder, feature_dim, preprocessing, licence, None, classifier, config)


_ENCODERS = {"image": _picture_encoder, "text": _text_encoder}


def _own_classifier(
    source: Source, network: nn.Module, encoder: nn.Module, example: Tensor
) -> LinearHead | None:
    """Return the classifier of the checkpoint, where it is one linear layer on these features.

    That is not read off names, which differ between architectures: its logits are compared with
    those of the whole network.
    """
    named: Any = getattr(network.config, "architectures", None) or ()
    if not any(each.endswith("ForImageClassification") for each in named):
        return None
    whole, missing = _open("AutoModelForImageClassification", source)
    if missing:
        return None
    noise = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, logits = encoder(noise), whole(noise).logits
        for layer in whole.modules():
            if isinstance(layer, nn.Linear) and layer.in_features == features.shape[1]:
                said = layer(features)
                if said.shape == logits.shape and torch.allclose(said, logits, 1e-3, 1e-3):
                    return linear_head(layer)
    return None


def _picture_contract(source: Source, _: nn.Module) -> tuple[ImagePreprocessing, None]:
    return files.from_transformers(source.path / "preprocessor_config.json"), None


def _text_contract(
    source: Source, network: nn.Module, most: int | None = None
) -> tuple[TextPreprocessing, Path]:
    """Read how texts are prepared: as long as network and tokenizer take them, at most `most`."""
    config: Any = network.config
    if not (source.path / "tokenizer.json").is_file():
        raise source.refused(
            "no tokenizer.json",
            fix="save it once: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    tokenizer, limit = _tokenizer(source)
    positions = getattr(config, "max_position_embeddings", None) or 0
    positions -= _first_position(network)  # XLNet's are relative and have no end, given as -1
    if most is not None:  # a classifier of transformers knows nothing of sentence-transformers
        tokenizer, own = _sentence_settings(tokenizer, source.path)
        most = min(most, own or most)
    limits = [each for each in (positions, limit, most) if each is not None and each > 1]
    longest = min(limits, default=_LONGEST_TEXT)
    padding = getattr(config, "pad_token_id", None)
    kept = tokens.keep_tokenizer(_within(tokenizer, network, source), longest)
    return TextPreprocessing(max_length=longest, pad_id=int(padding or 0)), kept


def _sentence_settings(tokenizer: Tokenizer, folder: Path) -> tuple[Tokenizer, int | None]:
    """Obey what sentence-transformers writes beside an encoder: lower case, and a length."""
    file = folder / "sentence_bert_config.json"
    if not file.is_file():
        return tokenizer, None
    settings = json_of(file, CONFIG)
    if not isinstance(settings, dict):
        raise CONFIG.unreadable(file, "no object like {...}")
    longest = settings.get("max_seq_length")
    if settings.get("do_lower_case") is True:
        tokenizer = tokens.lowered(tokenizer, file)
    return tokenizer, longest if isinstance(longest, int) and longest > 1 else None


def _tokenizer(source: Source) -> tuple[Tokenizer, int | None]:
    """Return the tokenizer as transformers reads the folder, and the tokens it keeps at most.

    ``tokenizer_config.json`` and the class of the tokenizer change what ``tokenizer.json`` says.
    """
    import transformers

    file = source.path / "tokenizer.json"
    try:
        found = transformers.AutoTokenizer.from_pretrained(
            source.path, local_files_only=True, trust_remote_code=False
        )
        split, text = found.split_special_tokens, found.backend_tokenizer.to_str()
    except Exception:  # its many parts raise kinds of their own; the file says itself what it is
        return tokens.read_tokenizer(file), None
    if split:
        raise tokens.split_tokens(file.with_name(tokens.SETTINGS))
    made = tokens.parse_tokenizer(text, file)
    limit = found.model_max_length
    if limit > _NO_LIMIT:
        limit = made.truncation["max_length"] if made.truncation else None
    made.enable_truncation(_LONGEST_TEXT, direction=found.truncation_side)
    return made, limit


def _within(tokenizer: Tokenizer, network: nn.Module, source: Source) -> Tokenizer:
    """Leave out tokens that were added without an embedding; refuse a vocabulary without them.

    transformers adds a mask token to a BERT whose vocabulary has none.
    """
    try:
        rows = network.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return tokenizer
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = [each for each in written["added_tokens"] if each["id"] < rows]
    kept = tokens.parse_tokenizer(json.dumps(written), source.path / "tokenizer.json")
    last = max(kept.get_vocab().values(), default=0)
    if last >= rows:
        raise source.refused(
            "the tokenizer knows more tokens than the network has embeddings for",
            found=f"a token of number {last:,}, and {rows:,} embeddings",
            fix="take the tokenizer that the weights were fitted with",
        )
    return kept


def _first_position(network: nn.Module) -> int:
    """Return where positions begin: RoBERTa and its like count from behind their padding's."""
    for name, layer in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(layer, nn.Embedding):
            return 0 if layer.padding_idx is None else layer.padding_idx + 1
    return 0


def _labels(source: Source, network: nn.Module) -> tuple[str, ...]:
    """Return the names of the classes in the order of the outputs; SpecError if they do not fit."""
    config: Any = network.config
    problem = getattr(config, "problem_type", None)
    named: dict[int, Any] = config.id2label or {}
    number = problem == "regression" or len(named) == 1
    if number or problem == "multi_label_classification":
        raise source.refused(
            "the head gives a number, not a class, which is not supported"
            if number
            else "the head gives several labels to an example, which is not supported yet",
            found=f"problem_type = {problem}" if problem else "one output",
            expected="single_label_classification of two classes or more",
        )
    names = [named.get(index) for index in range(len(named))]
    texts = [each for each in names if isinstance(each, str) and each.strip()]
    wrong = sorted({each for each in texts if texts.count(each) > 1 or len(each.splitlines()) > 1})
    told = None
    if not named:
        told = "config.json does not name the classes"
    elif len(texts) < len(named) or wrong:
        told = "the names of the classes in config.json do not fit the outputs, each once"
    if told is not None:
        shown = ", ".join(f"{key}: {name!r}" for key, name in list(named.items())[:8])
        raise source.refused(
            told,
            found=f"id2label {{{shown}}}" if named else None,
            expected='"id2label": {"0": NAME, "1": NAME, ...}, in the order of the outputs',
        )
    reverse = read_config(source.path / "config.json").get("label2id")
    found = reverse if isinstance(reverse, dict) else {}
    apart = [
        f"{name!r} is {index} and {found[name]}"
        for index, name in enumerate(texts)
        if found.get(name, index) != index
    ]
    if apart:
        raise source.refused(
            "id2label and label2id in config.json disagree",
            found=", ".join(apart[:5]),
            fix="correct the one that is not the order of the outputs",
        )
    return tuple(texts)


_CLASSIFIERS: Mapping[Modality, tuple[str, tuple[str, ...], Contract]] = {
    "image": ("AutoModelForImageClassification", ("pixel_values",), _picture_contract),
    "text": (
        "AutoModelForSequenceClassification", ("input_ids", "attention_mask"), _text_contract
    ),
}  # fmt: skip
"""How transformers opens a whole classifier of each kind, its inputs, and what prepares them."""


def load_fitted(source: Source, modality: Modality) -> FittedModel:
    """Open a whole classifier; SpecError without a trained head or contract; MissingExtraError."""
    _refuse_other_modality(source, modality)
    auto_class, inputs, contract = _CLASSIFIERS[modality]
    network, missing = _open(auto_class, source)
    _refuse(source, _UNTRAINED, missing)
    labels = _labels(source, network)
    preprocessing, tokenizer = contract(source, network)
    return FittedModel(
        Logits(network, inputs).eval(),
        labels,
        preprocessing,
        _licence(source.path),
        tokenizer,
        read_config(source.path / "config.json"),
    )
