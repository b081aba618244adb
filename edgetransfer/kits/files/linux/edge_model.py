"""Runs the model beside this file: needs numpy and onnxruntime, and Pillow to decode pictures.

>>> model = EdgeModel("model")                                              # doctest: +SKIP
>>> model.classify("photo.jpg")                                             # doctest: +SKIP
Classified(labels=[Label('bees', 0.98), Label('ants', 0.02)], accepted=True)
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Union

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np

KIT, CONTRACT = "linux", "1"
Array = Any
"""A numpy array; its type is not told to Python 3.8."""
Run = Callable[[Dict[str, Array]], Array]
"""Gives the output of a network for its inputs, by name."""
_LEFT = "left"
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF", "PPM")
_MOST_PIXELS = 89_478_485
"""Pillow's own limit: 0.25 GiB of RGB."""


class KitError(Exception):
    """Something that is not as it should be, in words."""


class Label(NamedTuple):
    """A class and its probability."""

    name: str
    probability: float


class Classified(NamedTuple):
    """The likeliest labels, best first; `accepted` is False where the model is too unsure."""

    labels: list[Label]
    accepted: bool


def lines_of(file: Path) -> list[str]:
    r"""Return the lines of a file, which end in ``\n`` and in nothing else."""
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        raise KitError(f"{file} cannot be read: {error}") from error
    return text[:-1].split("\n") if text.endswith("\n") else text.split("\n")


class ModelSettings(Dict[str, str]):
    """What ``model.tsv`` says, by name; a KitError where it does not."""

    def __missing__(self, name: str) -> str:
        raise KitError(f"model.tsv says nothing of {name}")

    def number(self, name: str) -> float:
        """Return a number."""
        try:
            return float(self[name])
        except ValueError as error:
            raise KitError(f"model.tsv: {name} is no number: {self[name]!r}") from error


def read_settings(folder: Path) -> ModelSettings:
    """Read ``model.tsv``; KitError where it is of another version of the contract."""
    found = ModelSettings(line.partition("\t")[::2] for line in lines_of(folder / "model.tsv"))
    if found.get("contract") != CONTRACT:
        raise KitError(
            f"{folder} holds a model of contract {found.get('contract')}, and this kit reads "
            f"{CONTRACT}: make the kit again"
        )
    return found


class WordPiece:
    """Texts to token ids, by ``vocabulary.txt`` and ``characters.tsv``."""

    def __init__(
        self, vocabulary: Sequence[str], rows: Sequence[Sequence[str]], settings: dict[str, str]
    ) -> None:
        self._ids = {token: number for number, token in enumerate(vocabulary)}
        self._kinds = dict(_spread(rows))
        self._longest = int(settings["longest"])
        self._longest_word = int(settings["longest_word"])
        self._longest_token = max(map(len, vocabulary))
        self._unknown = int(settings["unknown"])
        self._before, self._after = (_numbers(settings[name]) for name in ("before", "after"))
        self._keeps_end = settings["truncate"] == _LEFT
        added = [(v, int(k[6:])) for k, v in settings.items() if k.startswith("added.")]
        self._added = sorted(added, key=lambda each: -len(each[0]))

    @classmethod
    def read(cls, folder: Path, settings: dict[str, str]) -> WordPiece:
        """Read the tables of a folder."""
        rows = [line.split("\t") for line in lines_of(folder / "characters.tsv")]
        vocabulary = lines_of(folder / "vocabulary.txt")
        try:
            return cls(vocabulary, rows, settings)
        except (IndexError, KeyError, ValueError) as error:
            raise KitError(f"{folder}: model.tsv or characters.tsv is damaged: {error}") from error

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text, those around it included, `longest` at most."""
        found: list[int] = []
        for part, token in self._parted(text):
            found += [token] if token is not None else self._of_words(part)
        room = max(0, self._longest - len(self._before) - len(self._after))
        found = found[len(found) - min(room, len(found)) :] if self._keeps_end else found[:room]
        return [*self._before, *found, *self._after]

    def _parted(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Yield what stands between added tokens, and those, with their ids."""
        start = at = 0
        while at < len(text):
            for token, number in self._added:
                if token and text.startswith(token, at):
                    yield text[start:at], None
                    yield token, number
                    start = at = at + len(token)
                    break
            else:
                at += 1
        yield text[start:], None

    def _of_words(self, text: str) -> list[int]:
        found: list[int] = []
        for word in self.words(text):
            found += self._of_word(word)
        return found

    def words(self, text: str) -> Iterator[str]:
        """Yield the words of a text in which no added token stands."""
        word = ""
        for letter in self._changed(text):
            kind = self._kinds.get(ord(letter))
            if kind is _SPACE or kind is _ALONE:
                if word:
                    yield word
                    word = ""
                if kind is _ALONE:
                    yield letter
            else:
                word += letter
        if word:
            yield word

    def _changed(self, text: str) -> Iterator[str]:
        for letter in text:
            kind = self._kinds.get(ord(letter))
            if isinstance(kind, str):
                yield from kind
            elif kind is _HANGUL:
                yield from _decomposed(ord(letter))
            else:
                yield letter

    def _of_word(self, word: str) -> list[int]:
        if len(word) > self._longest_word:
            return [self._unknown]
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest_token), start, -1):
                number = self._ids.get(("##" if start else "") + word[start:end])
                if number is not None:
                    break
            else:
                return [self._unknown]
            found.append(number)
            start = end
        return found


_SPACE, _ALONE, _HANGUL = 1, 2, 3
_Kind = Union[int, str]


def _spread(rows: Sequence[Sequence[str]]) -> Iterator[tuple[int, _Kind]]:
    """Yield every code point that is in ``characters.tsv``, and what becomes of it."""
    named: dict[str, _Kind] = {"drop": "", "space": _SPACE, "alone": _ALONE, "hangul": _HANGUL}
    for first, last, kind, *to in rows:
        becomes = named[kind] if kind in named else "".join(chr(int(h, 16)) for h in to[0].split())
        for code in range(int(first, 16), min(int(last, 16), 0x10FFFF) + 1):
            yield code, becomes


def _decomposed(code: int) -> str:
    """Return the letters of a syllable of Hangul (Unicode, section 3.12)."""
    first, rest = divmod(code - 0xAC00, 588)
    middle, last = divmod(rest, 28)
    return chr(0x1100 + first) + chr(0x1161 + middle) + (chr(0x11A7 + last) if last else "")


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",") if each]


def decode(source: str | Path | bytes) -> Array:
    """Return what a person sees of a picture on a white page: uint8 [height, width, 3], RGB.

    It is turned as its EXIF block says; an animation gives its first frame. KitError where it is no
    picture.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise KitError("decoding pictures needs Pillow: pip install pillow") from error
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        raise KitError(f"no file that can be read: {error}") from error
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise KitError(
                    f"{opened.width} x {opened.height} pixels, at most {_MOST_PIXELS} are decoded"
                )
            if opened.mode in ("I", "F"):
                raise KitError("32 bits a pixel, which have no agreed range: save it with 8")
            opened.load()
            return _seen(opened)
    except KitError:
        raise
    except UnidentifiedImageError as error:
        raise KitError(f"not a picture in a known format: {', '.join(_FORMATS)}") from error
    except Exception as error:  # Pillow's decoders raise anything
        raise KitError(
            f"not a picture that can be read: {error or type(error).__name__}"
        ) from error


def _seen(image: Any) -> Array:  # noqa: ANN401 (Pillow may be absent)
    """Return RGB of a picture of Pillow's: turned, over white, 16 bits scaled to 8."""
    from PIL import Image, ImageOps

    with suppress(Exception):  # a damaged EXIF block is no reason to refuse sound pixels
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint32)
        grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, seen)
    return np.array(image.convert("RGB"))


class EdgeModel:
    """The model of a folder, opened once."""

    def __init__(self, folder: str | Path = "model", threads: int = 1) -> None:
        self.folder = Path(folder)
        self.settings = read_settings(self.folder)
        self.labels = lines_of(self.folder / "labels.txt")
        self.takes_texts = self.settings["kind"] == "text"
        self._inputs = self.settings["inputs"].split(",")
        self._temperature, self._threshold = map(self.settings.number, ("temperature", "threshold"))
        if not self._temperature > 0:
            raise KitError("model.tsv: temperature is not above zero")
        if self.takes_texts:
            self.tokenizer = WordPiece.read(self.folder, self.settings)
        self.runtime, self._run = self._opened(threads)

    def _opened(self, threads: int) -> tuple[str, Run]:
        """Return what runs the network, by name and version, and how."""
        return self._by_onnx_runtime("model.onnx", [self.settings["output"]], threads)

    def _by_onnx_runtime(
        self, name: str, outputs: list[str] | None, threads: int
    ) -> tuple[str, Run]:
        """Open a file; what runs it gives the first of its outputs, or of those named."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            for key, value in self.settings.items():
                if key.startswith("session."):
                    options.add_session_config_entry(key[len("session.") :], value)
            session = onnxruntime.InferenceSession(
                str(self.folder / name), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's have no root of their own
            raise KitError(f"{self.folder}: ONNX Runtime cannot open it: {error}") from error

        def run(feeds: dict[str, Array]) -> Array:
            try:
                return session.run(outputs, feeds)[0]
            except Exception as error:  # as above
                raise KitError(f"ONNX Runtime cannot run the model: {error}") from error

        return "onnxruntime " + onnxruntime.__version__, run

    def logits(self, given: Array | Sequence[int]) -> Array:
        """Return float32 [labels] for a picture uint8 [height, width, 3], or for token ids."""
        if self.takes_texts:
            ids = np.array([given], dtype=np.int64)
            fills = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            feeds = {name: fills.get(name, np.zeros_like(ids)) for name in self._inputs}
        else:
            feeds = {self._inputs[0]: np.ascontiguousarray(given)[None]}
        found: Array = self._run(feeds)[0]
        if found.shape != (len(self.labels),) or not np.isfinite(found).all():
            raise KitError(f"the model gives {found.shape} numbers, not one of each label")
        return found

    def decide(self, logits: Array, top: int = 3) -> Classified:
        """Return the labels of the largest logits, and whether the model is sure enough of one."""
        scaled = logits.astype(np.float64) / self._temperature
        shares = np.exp(scaled - scaled.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:top]
        labels = [Label(self.labels[each], float(shares[each])) for each in best]
        return Classified(labels, labels[0].probability >= self._threshold)

    def classify(self, given: str | Path | bytes | Array, top: int = 3) -> Classified:
        """Decide on a text, or on a picture: a file, its bytes, or RGB uint8 [height, width, 3]."""
        if self.takes_texts:
            return self.decide(self.logits(self.tokenizer.ids(str(given))), top)
        picture = given if isinstance(given, np.ndarray) else decode(given)
        return self.decide(self.logits(picture), top)
