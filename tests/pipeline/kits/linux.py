"""What both languages of the Linux kit are tested with: strings, and files that are damaged."""

import random
import re

POOLS = (
    *("abc XYZ 019", "áéñ Çğİıßẞ", "ẹ́ọ̀ṣńǹ", "العربية ًٌٍ", "中文字漢", "😀👩\u200d👧🇳🇬"),
    *("\u200b\u200d\ufeff\xad\x01\x07", "\u00a0\u3000\u2028\t\n\r", "'\"-—…¿¡«»$+<=>^`|~"),
    *("한국어かなカナ", "ﬁﬀ℃ⅣΑΒΣςЖщ", "े्नमस्"),
)
ADDED = ("[MASK]", "[UNK]", "[CLS]", "##a")
EDGES = ("a" * 100, "a" * 101, "", "   ", "[MASK]", "x[MASK]y", "[MASK", "한", "\ud7a3\uac00")
NUMBER = 11_000


def strings():
    """Yield texts that tokenizers disagree on: mixed from pools, of random code points, edges."""
    draw = random.Random(0)
    yield from EDGES
    for _ in range(NUMBER // 2):
        parts = (
            draw.choice(ADDED) if draw.random() < 0.03 else draw.choice(draw.choice(POOLS))
            for _ in range(draw.randint(0, 40))
        )
        yield "".join(parts)
    spans = ((1, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0x1FFFF), (0x20000, 0x10FFFF))
    for _ in range(NUMBER - NUMBER // 2):
        codes = (draw.randint(*draw.choice(spans)) for _ in range(draw.randint(1, 20)))
        yield "".join(map(chr, codes))


def printed(kit, language):
    """Return the code that a kit's README shows in a language."""
    text = (kit / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"```{re.escape(language)}\n(.*?)```", text, re.DOTALL)
    return code


def _setting(name, value):
    return lambda text: re.sub(rf"^{name}\t.*$", f"{name}\t{value}", text, flags=re.MULTILINE)


def _without(name):
    return lambda text: re.sub(rf"^{name}\t.*\n", "", text, flags=re.MULTILINE)


def _cell(column, value):
    """Change a cell of the first case."""

    def change(text):
        lines = text.split("\n")
        cells = lines[1].split("\t")
        cells[lines[0].split("\t").index(column)] = value
        return "\n".join([lines[0], "\t".join(cells), *lines[2:]])

    return change


def _is(text):
    return lambda _: text


MODEL, CASES, CHARACTERS = "model/model.tsv", "golden/golden.tsv", "model/characters.tsv"
DAMAGED = (
    ("picture", MODEL, None, "cannot be read"),
    ("picture", MODEL, _is(""), "contract"),
    ("picture", MODEL, _setting("contract", "2"), "a model of contract 2, and this kit reads 1"),
    ("picture", MODEL, _without("output"), "model.tsv says nothing of output"),
    ("picture", MODEL, _setting("temperature", "warm"), "temperature"),
    ("picture", MODEL, _setting("temperature", "0"), "temperature is not above zero"),
    ("picture", MODEL, _setting("threshold", ""), "threshold"),
    ("picture", "model/labels.txt", None, "cannot be read"),
    ("picture", "model/model.onnx", _is("no model"), "ONNX Runtime cannot open it"),
    ("picture", CASES, None, "cannot be read"),
    ("picture", CASES, _is(""), "no column name"),
    ("picture", CASES, lambda text: text.split("\n")[0] + "\n", "no case"),
    ("picture", CASES, lambda text: text.rstrip("\n") + "\t1\n", "cells, not"),
    ("picture", CASES, _cell("height", "x"), "00"),
    ("picture", CASES, _cell("width", "100000"), "00"),
    ("picture", "golden/00.picture.bin", None, "cannot be read"),
    ("text", "model/vocabulary.txt", None, "cannot be read"),
    ("text", MODEL, _without("longest_word"), "model.tsv says nothing of longest_word"),
    ("text", MODEL, _setting("longest", "many"), "many"),
    ("text", MODEL, _setting("before", "1,x"), "model.tsv"),
    ("text", CHARACTERS, None, "cannot be read"),
    ("text", CHARACTERS, _is("41\t42\n"), "characters.tsv"),
    ("text", CHARACTERS, _is("zz\tzz\tdrop\n"), "zz"),
    ("text", CHARACTERS, _is("41\t42\tnothing\n"), "characters.tsv"),
    ("text", CHARACTERS, _is("41\t42\tto\tgh\n"), "gh"),
    ("text", CASES, _cell("input_ids", "1,,2"), "00"),
)
"""A kind, a file, what becomes of it (None: it is gone), and what the one message says."""


def damage(kit, file, change):
    if change is None:
        (kit / file).unlink()
    else:
        text = (kit / file).read_text(encoding="utf-8", errors="replace")
        (kit / file).write_text(change(text), encoding="utf-8", newline="\n")


def no_mean(model):
    """Change a model of pictures so that it does not take off the mean."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    network = onnx.load(model)
    constants = {each.name: each for each in network.graph.initializer}
    node = next(each for each in network.graph.node if each.op_type == "Sub")
    mean = next(constants[name] for name in node.input if name in constants)
    zeros = np.zeros_like(numpy_helper.to_array(mean))
    mean.CopyFrom(numpy_helper.from_array(zeros, mean.name))
    onnx.save(network, model)
