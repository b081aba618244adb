"""Writes golden cases: examples, and inputs made to be hard, with what the models make of them.

``index.json`` is of the examples, for `edgetransfer` and the agent. ``golden.tsv`` is for apps,
which need no JSON parser to read it: a line a case, of examples and of what decoders and tokenizers
are known to get wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgetransfer.bundle.files import write_json
from edgetransfer.data.decode import decode
from edgetransfer.graph.embed import PICTURE
from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.prepare import PicturePreparer

if TYPE_CHECKING:
    from pathlib import Path

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer

Array = np.ndarray[Any, Any]
SCHEMA = "edgetransfer.golden/2"
OTHERS = ("core", "reference")
"""The networks of a bundle beside ``model.onnx``."""
CASES = "golden.tsv"
_WIDTH, _HEIGHT = 48, 36
_ORIENTATION = 0x0112
JPEG_LEVELS, DEEP_LEVELS, CMYK_LEVELS = 4, 1, 12
"""How far a byte may be off: decoders of JPEG round differently, 16 bits are cut or rounded to 8,
and ink becomes light by more than one formula."""
HARD_TEXTS = {
    "empty": "",
    "spaces": " \t\r\n\u00a0\u3000\u2028 a  b ",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 ok \U0001f1f3\U0001f1ec \u2764\ufe0f",
    "arabic": "\u0627\u0644\u0639\u064e\u0631\u064e\u0628\u0650\u064a\u0651\u0629\u061f",
    "yoruba": "E\u0323\u0300ko\u0301 \u1eb8k\u1ecd \u00c8k\u00f3 o\u0323\u0301",
    "han": "\u4e2d\u6587\u5b57\u7b26\uff0c\u65e5\u672c\u8a9e\u304b\u306a \ud55c\uad6d\uc5b4",
    "accents": "\u0130stanbul \u1e9e \u00df \ufb01ne Z\u0351\u036b\u0343a\u0308lgo",
    "malformed": "a\x00b\ufffdc\x07d\u200be\ufefff\ue000g\U000e0001h",
    "special": "[MASK] [UNK]x[SEP] ##a <s></s> <pad>",
    "punctuation": "don't--stop\u2026 \u00bfqu\u00e9? $5.00 (50%) \u00ab\u00bb `a|b~c`",
    "long": "the quick brown fox jumps over the lazy dog " * 200,
}
"""Texts that tokenizers disagree on, by name."""


def write_golden(
    folder: Path, models: Mapping[str, Path], examples: Sequence[Example], prepare: Preparer
) -> None:
    """Write the examples and what the models make of them on this machine, then the hard cases.

    ``index.json`` lists, for every example, its files with type and shape; ``.bin`` files are
    little-endian and row-major. Pictures come as PNG and as decoded RGB. The folder is made;
    `models` says where ``model.onnx``, ``core.onnx`` and ``reference.onnx`` lie.
    """
    folder.mkdir()
    sessions = {each: open_here(models[f"{each}.onnx"]) for each in OTHERS}
    cases, rows = [], list[Row]()
    for index, example in enumerate(examples):
        stem = f"{index:02d}"
        prepared = prepare.prepare(example)
        case: dict[str, Any] = {"label": example.label, "text": example.text, "prepared": {}}
        raw = prepare.raw(example)
        if PICTURE in raw:
            picture = raw[PICTURE][0]
            Image.fromarray(picture).save(folder / f"{stem}.png", optimize=False)
            case["png"] = f"{stem}.png"
            case["picture"] = _dump(folder, f"{stem}.{PICTURE}.bin", picture)
        for name, array in prepared.items():
            case["prepared"][name] = _dump(folder, f"{stem}.{name}.bin", array[0])
        for side, session in sessions.items():
            given = zip(session.output_names, session.run(prepared), strict=True)
            case[side] = {name: array[0].astype(float).tolist() for name, array in given}
        cases.append(case)
        rows.append((stem, _given(case, raw), raw))
    write_json(folder / "index.json", {"schema": SCHEMA, "cases": cases})
    rows += _hard_cases(folder, prepare)
    _write_cases(folder / CASES, models["model.onnx"], rows)


Row = tuple[str, tuple[str, ...], Mapping[str, Array]]
"""A case: its name, what an app is given and has to make of it, and what the model takes."""


def _given(case: Mapping[str, Any], raw: Mapping[str, Array]) -> tuple[str, ...]:
    if PICTURE in raw:
        return _picture_cells(case["png"], raw[PICTURE][0], 0)
    return _text_cells(case["text"] or "", raw)


def _picture_cells(file: str, picture: Array, levels: int) -> tuple[str, ...]:
    height, width, _ = picture.shape
    return file, str(height), str(width), str(levels)


def _text_cells(text: str, tokens: Mapping[str, Array]) -> tuple[str, ...]:
    return escaped(text), ",".join(map(str, tokens["input_ids"][0].tolist()))


def escaped(text: str) -> str:
    r"""Return a text in which no tab and no end of a line stands, as readers undo it.

    >>> print(escaped("a\tb\\n"))
    a\tb\\n
    """
    for letter, code in {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}.items():
        text = text.replace(letter, code)
    return text.replace("\0", "\\0")


def _hard_cases(folder: Path, prepare: Preparer) -> Iterator[Row]:
    if not isinstance(prepare, PicturePreparer):
        for name, text in HARD_TEXTS.items():
            tokens = prepare.tokens(text)
            if tokens[prepare.input_names[0]].size:  # else a network has nothing to read
                yield name, _text_cells(text, tokens), tokens
        return
    for file, (content, levels) in hard_pictures().items():
        (folder / file).write_bytes(content)
        picture = decode(content, where=file)
        name = file.partition(".")[0]
        _dump(folder, f"{name}.{PICTURE}.bin", picture)
        yield name, _picture_cells(file, picture, levels), {PICTURE: picture[None]}


def hard_pictures() -> dict[str, tuple[bytes, int]]:
    """Return encoded pictures that decoders disagree on, and how far one may be off, by file.

    The same bytes come at every call of one version of Pillow.
    """
    drawn = _drawn()
    grey = Image.fromarray((np.asarray(drawn)[..., 1].astype(np.uint16) * 257).astype(np.uint16))
    ink, clear = drawn.convert("CMYK"), drawn.copy()
    alpha = np.tile(np.array([0, 128, 255], np.uint8), (_HEIGHT, _WIDTH // 3))
    clear.putalpha(Image.fromarray(alpha))
    frames = {"save_all": True, "append_images": [Image.new("RGB", drawn.size, "white")]}
    return {
        "turned.jpg": (_jpeg(drawn, 6), JPEG_LEVELS),
        "turned-and-mirrored.jpg": (_jpeg(drawn, 5), JPEG_LEVELS),
        "one-pixel.png": (_saved(drawn.crop((0, 0, 1, 1)), "PNG"), 0),
        "odd-size.png": (_saved(drawn.crop((0, 0, 37, 23)), "PNG"), 0),
        "grey-16-bit.png": (_saved(grey, "PNG"), DEEP_LEVELS),
        "transparent.png": (_saved(clear, "PNG"), DEEP_LEVELS),
        "cmyk.jpg": (_saved(ink, "JPEG", quality=95, subsampling=0), CMYK_LEVELS),
        "animated.gif": (_saved(drawn.quantize(16), "GIF", **frames), 0),
    }


def _drawn() -> Image.Image:
    """Draw a picture that no turn, no mirror and no change of channels leaves as it is."""
    rows, columns = np.mgrid[:_HEIGHT, :_WIDTH]
    pixels = np.stack([40 + 4 * columns, 20 + 3 * rows, 200 - 2 * rows - columns], axis=2)
    pixels[: _HEIGHT // 3, : _WIDTH // 3] = 230, 60, 20
    return Image.fromarray(pixels.astype(np.uint8))


def _jpeg(picture: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return _saved(picture, "JPEG", quality=95, subsampling=0, exif=exif)


def _saved(picture: Image.Image, form: str, **how: Any) -> bytes:  # noqa: ANN401 (Pillow's own)
    file = BytesIO()
    picture.save(file, form, **how)
    return file.getvalue()


def _write_cases(file: Path, model: Path, rows: Sequence[Row]) -> None:
    """Write a line a case: its name, what goes in, and every output, the numbers with commas."""
    session = open_here(model)
    pictures = not rows or PICTURE in rows[0][2]
    given = ("file", "height", "width", "levels") if pictures else ("text", "input_ids")
    lines = [("name", *given, *session.output_names)]
    for name, cells, raw in rows:
        outputs = (np.float32(array[0]).ravel() for array in session.run(raw))
        lines.append((name, *cells, *(",".join(map(str, array)) for array in outputs)))
    file.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def _dump(folder: Path, name: str, array: Array) -> dict[str, Any]:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    (folder / name).write_bytes(little.tobytes())
    return {"file": name, "dtype": array.dtype.name, "shape": list(array.shape)}
