"""Reads a tokenizer with the settings that stand beside it, and keeps it as one file."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import MissingExtraError, SpecError, first_line
from edgetransfer.spec.outside import MIB, Kind, json_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer

SETTINGS = "tokenizer_config.json"
_TOKENIZER = Kind(
    "tokenizer", 128 * MIB, SpecError, expected="tokenizer.json of the tokenizers library"
)
_CONFIG = Kind("tokenizer_config.json", 16 * MIB, SpecError, once=False)
_OF_BERT = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Settings, and what the normaliser of BERT and its like calls them."""


def read_tokenizer(file: Path) -> Tokenizer:
    """Read a tokenizer as ``tokenizer_config.json`` beside it says, as transformers does.

    SpecError where it is none or the two files say what cannot both be; MissingExtraError.
    """
    read = parse_tokenizer(text_of(file, _TOKENIZER), file)
    beside = file.with_name(SETTINGS)
    if not beside.is_file():
        return read
    settings = json_of(beside, _CONFIG)
    if not isinstance(settings, dict):
        raise _CONFIG.unreadable(beside, "no object like {...}")
    written = json.loads(read.to_str())
    _obey(written, settings, beside)
    return parse_tokenizer(json.dumps(written), file)


def parse_tokenizer(text: str, where: object) -> Tokenizer:
    """Return the tokenizer that JSON describes; SpecError where it is none, MissingExtraError."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("tokenizers", "hf", purpose="a text model") from error
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the tokenizers library raises this very class
        raise SpecError("not a tokenizer", where=str(where), found=first_line(error)) from error


def _obey(written: dict[str, Any], settings: dict[str, Any], file: Path) -> None:
    normalisers = list(_parts(written["normalizer"], "normalizers"))
    of_bert = [each for each in normalisers if each.get("type") == "BertNormalizer"]
    for setting, name in _OF_BERT.items():
        if settings.get(setting) is not None:
            for each in of_bert:
                each[name] = settings[setting]
    lower = settings.get("do_lower_case")
    lowers = any(each.get("type") == "Lowercase" for each in normalisers)
    if isinstance(lower, bool) and not of_bert and lower != lowers:
        does = "makes" if lowers else "does not make"
        raise SpecError(
            "tokenizer.json and tokenizer_config.json disagree",
            where=str(file),
            found=f"do_lower_case = {lower}, and tokenizer.json {does} texts lower case",
            fix="save both at once: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    if settings.get("split_special_tokens"):
        raise split_tokens(file)
    prefix = settings.get("add_prefix_space")
    for each in _parts(written["pre_tokenizer"], "pretokenizers"):
        if each.get("type") == "ByteLevel" and isinstance(prefix, bool):
            each["add_prefix_space"] = prefix
    side = settings.get("truncation_side")
    if side in ("left", "right"):
        block = {"max_length": 512, "strategy": "LongestFirst", "stride": 0}
        written["truncation"] = {**(written["truncation"] or block), "direction": side.title()}


def split_tokens(file: Path) -> SpecError:
    """Return the error of a tokenizer that splits special tokens which stand in a text."""
    return SpecError(
        "special tokens in texts are split, which tokenizer.json cannot say",
        where=str(file),
        found="split_special_tokens = true",
        fix="remove the setting, and judge the model without it",
    )


def lowered(tokenizer: Tokenizer, where: object) -> Tokenizer:
    """Return a tokenizer that first makes texts lower case."""
    written = json.loads(tokenizer.to_str())
    parts = [{"type": "Lowercase"}, *([written["normalizer"]] if written["normalizer"] else [])]
    written["normalizer"] = {"type": "Sequence", "normalizers": parts}
    return parse_tokenizer(json.dumps(written), where)


def _parts(part: dict[str, Any] | None, inner: str) -> Iterator[dict[str, Any]]:
    """All parts of a normaliser or pre-tokenizer that may be a sequence of such."""
    waiting = [part] if part else []
    while waiting:
        each = waiting.pop()
        yield each
        waiting += each.get(inner, [])


def keep_tokenizer(tokenizer: Tokenizer, longest: int) -> Path:
    """Write a tokenizer of `longest` tokens at most into a file that lives as long as we do."""
    direction = (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.enable_truncation(longest, direction=direction)
    tokenizer.no_padding()
    text = tokenizer.to_str()
    folder = Path(_room().name, hashlib.sha256(text.encode()).hexdigest())
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return folder / "tokenizer.json"


@cache
def _room() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="edgetransfer-tokenizers-")
