r"""Writes a WordPiece tokenizer as two tables that every language reads, and proves that they do.

A port that asks its platform what a letter or a space is differs from the tokenizer that a model
was trained with: the Unicode tables of Java, of a browser and of Python are of different years. So
the tokenizer itself is asked once, for every code point, and its answers are shipped.

``vocabulary.txt`` has a token a line, in the order of ids. ``characters.tsv`` has a range of code
points a line: the first and the last, hexadecimal, and what becomes of each: ``drop``, nothing;
``space``, the end of a word; ``alone``, a word of this one character; ``hangul``, the two or three
letters of a syllable (Unicode, section 3.12); or ``to`` with a fourth column, what it is replaced
by, hexadecimal with spaces between. A code point in no range is a letter of a word, and so is one
that another was replaced by, unless it is itself a ``space`` or ``alone``.

Ids of a text: it is parted at the added tokens (``added.ID`` in ``model.tsv``), at each place the
longest, which become their ids. What is between becomes words, and a word the ids of its parts: the
longest token that it begins with, then the longest of ``##`` and what is left, and so on;
``unknown`` alone where that fails, or where it has more than ``longest_word`` characters. Of all
ids the first (the last, where ``truncate`` is ``left``) are kept, so many that they are ``longest``
with those of ``before`` and ``after``, which are put around them.

The algorithm is that of Devlin et al., BERT (2018), as Hugging Face's tokenizers library has it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import UnsupportedError
from edgetransfer.export.golden import HARD_TEXTS
from edgetransfer.graph.tokens import parse_tokenizer
from edgetransfer.kits.files.linux.edge_model import WordPiece
from edgetransfer.spec.outside import MIB, Kind, shortened, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tokenizers import Tokenizer

VOCABULARY, CHARACTERS = "vocabulary.txt", "characters.tsv"
PREFIX = "##"
SYLLABLES = range(0xAC00, 0xD7A4)
_SURROGATES = range(0xD800, 0xE000)
_CODE_POINTS = 0x110000
_TOKENIZER = Kind("tokenizer", 128 * MIB)


@dataclass(frozen=True)
class CharacterTable:
    """What a tokenizer makes of code points: `becomes` where it changes one, and classes."""

    becomes: Mapping[int, str]
    spaces: frozenset[int]
    alone: frozenset[int]


def write_wordpiece(tokenizer: Path, longest: int, folder: Path) -> dict[str, str]:
    """Write both tables into a folder, and return what ``model.tsv`` says beside them.

    UnsupportedError where it is another kind of tokenizer, or one that the tables do not describe.
    """
    text = text_of(tokenizer, _TOKENIZER)
    read = parse_tokenizer(text, tokenizer)
    told = json.loads(text)
    vocabulary = _vocabulary(told, tokenizer)
    read.no_padding()
    read.no_truncation()
    table = characters(read)
    model, side = told["model"], (told["truncation"] or {}).get("direction", "Right")
    before, after = _around(read, vocabulary)
    settings = {
        "longest": str(longest),
        "longest_word": str(model["max_input_chars_per_word"]),
        "unknown": str(vocabulary.index(model["unk_token"])),
        "before": ",".join(map(str, before)),
        "after": ",".join(map(str, after)),
        "truncate": side.lower(),
        **{f"added.{each['id']}": each["content"] for each in told["added_tokens"]},
    }
    read.enable_truncation(longest, direction=side.lower())
    table_rows = [*rows(table)]
    _refuse_other(read, WordPiece(vocabulary, table_rows, settings), tokenizer)
    lines = "".join(f"{each}\n" for each in vocabulary)
    (folder / VOCABULARY).write_text(lines, encoding="utf-8", newline="\n")
    lines = "".join("\t".join(row) + "\n" for row in table_rows)
    (folder / CHARACTERS).write_text(lines, encoding="utf-8", newline="\n")
    return settings


def _refuse_other(read: Tokenizer, port: WordPiece, tokenizer: Path) -> None:
    """Refuse a tokenizer of other words, or other ids, than the port's.

    Words are of texts that are hard, ids of every eighth code point too. Words are not of those:
    Unicode's normal forms exchange marks of Adlam and of musical notation that stand in an order in
    which nobody writes them, which no table of characters says.
    """
    normalise, parted = _steps(read)
    draw = Random(0)
    pools = [*HARD_TEXTS.values(), *(chr(each) * 3 for each in range(33, 0x3000, 7))]
    mixed = ("".join(draw.choice(draw.choice(pools) or " ") for _ in range(20)) for _ in range(500))
    letters = (chr(each) for each in range(_CODE_POINTS) if each not in _SURROGATES)
    spread = ("".join(some) for some in zip(*[letters] * 40, strict=False))
    hard = [*HARD_TEXTS.values(), *mixed]
    other = (t for t in hard if [w for w, _ in parted(normalise(t))] != [*port.words(t)])
    others = (t for t in (*hard, *islice(spread, 0, None, 8)) if read.encode(t).ids != port.ids(t))
    for text in chain(other, others):
        raise _unfit(tokenizer, f"one that two tables do not describe: {shortened(text)}")


def _unfit(tokenizer: Path, found: str) -> UnsupportedError:
    return UnsupportedError(
        "kits have no port of this tokenizer",
        where=str(tokenizer),
        found=found,
        expected="WordPiece, as BERT, DistilBERT, MiniLM and E5 have it",
        fix="take a backbone with such a tokenizer; in Python and in a browser, `tokenizers` and "
        "transformers.js read this one",
    )


def _vocabulary(told: Mapping[str, Any], tokenizer: Path) -> list[str]:
    """Return the tokens in the order of their ids; UnsupportedError where a port cannot have them.

    >>> _vocabulary({"model": {"type": "BPE"}}, Path("tokenizer.json"))
    Traceback (most recent call last):
    ...
    edgetransfer.errors.UnsupportedError: tokenizer.json: kits have no port of this tokenizer
      found: BPE
    ...
    """
    model = told["model"]
    if model.get("type") != "WordPiece":
        raise _unfit(tokenizer, str(model.get("type")))
    if model["continuing_subword_prefix"] != PREFIX:
        raise _unfit(
            tokenizer, f"parts of a word begin with {model['continuing_subword_prefix']!r}"
        )
    ids: dict[str, int] = {**model["vocab"]}
    for each in told["added_tokens"]:
        if any(each[name] for name in ("lstrip", "rstrip", "single_word", "normalized")):
            raise _unfit(tokenizer, f"an added token {each['content']!r} with conditions")
        ids.setdefault(each["content"], each["id"])
    ordered = sorted(ids, key=ids.__getitem__)
    if [ids[each] for each in ordered] != list(range(len(ordered))):
        raise _unfit(tokenizer, "ids that are not 0, 1, 2 and so on")
    if any("\n" in each or "\r" in each for each in ordered):
        raise _unfit(tokenizer, "a token in which a line ends")
    return ordered


def _around(read: Tokenizer, vocabulary: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the ids that are put before and after those of a text."""
    word = next(each for each in vocabulary if each.isascii() and each.isalpha() and each.islower())
    ids, bare = read.encode(word).ids, read.encode(word, add_special_tokens=False).ids
    start = next(i for i in range(len(ids)) if ids[i : i + len(bare)] == bare)
    return ids[:start], ids[start + len(bare) :]


def _steps(
    read: Tokenizer,
) -> tuple[Callable[[str], str], Callable[[str], list[tuple[str, Any]]]]:
    """Return what changes characters, and what parts a text into words."""
    normalise = str if read.normalizer is None else read.normalizer.normalize_str
    return normalise, read.pre_tokenizer.pre_tokenize_str


def characters(read: Tokenizer) -> CharacterTable:
    """Ask a tokenizer what it makes of every code point."""
    normalise, parted = _steps(read)
    becomes: dict[int, str] = {}
    classes: dict[str, int] = {}
    for code in range(_CODE_POINTS):
        if code in _SURROGATES:
            continue
        letter = chr(code)
        made = normalise(letter)
        if made != letter:
            becomes[code] = made
        for each in made:
            if each not in classes:
                classes[each] = len(parted(f"a{each}a"))
    return CharacterTable(
        becomes,
        frozenset(ord(each) for each, parts in classes.items() if parts == 2),
        frozenset(ord(each) for each, parts in classes.items() if parts > 2),
    )


def kinds(table: CharacterTable) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield every code point that is no letter as it stands, and what becomes of it."""
    for code in sorted({*table.becomes, *table.spaces, *table.alone}):
        made = table.becomes.get(code, chr(code))
        kept = made.strip(" ")
        if not made:
            yield code, ("drop",)
        elif not kept or (len(kept) == 1 and ord(kept) in table.spaces):
            yield code, ("space",)
        elif kept == chr(code):
            # Spaces are put around it, or the second step parts it from others.
            yield code, ("alone",)
        elif code in SYLLABLES and made == decomposed(code):
            yield code, ("hangul",)
        else:
            yield code, ("to", " ".join(f"{ord(each):x}" for each in made))


def decomposed(code: int) -> str:
    """Return the letters of a syllable of Hangul, by Unicode's formula.

    >>> [f"{ord(each):x}" for each in decomposed(0xD55C)]
    ['1112', '1161', '11ab']
    """
    first, rest = divmod(code - SYLLABLES.start, 588)
    middle, last = divmod(rest, 28)
    return chr(0x1100 + first) + chr(0x1161 + middle) + (chr(0x11A7 + last) if last else "")


def rows(table: CharacterTable) -> Iterator[tuple[str, ...]]:
    """Yield the lines of ``characters.tsv``: first, last, what becomes of them.

    >>> table = CharacterTable({65: "a", 66: "a"}, frozenset({9, 10, 32}), frozenset({33}))
    >>> list(rows(table))
    [('9', 'a', 'space'), ('20', '20', 'space'), ('21', '21', 'alone'), ('41', '42', 'to', '61')]
    """
    first = last = -1
    held: tuple[str, ...] = ()
    for code, kind in kinds(table):
        if held and (kind != held or code != last + 1):
            yield f"{first:x}", f"{last:x}", *held
            held = ()
        if not held:
            first, held = code, kind
        last = code
    if held:
        yield f"{first:x}", f"{last:x}", *held
