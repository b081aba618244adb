"""A picture's file or bytes to 8-bit RGB, the same way everywhere."""

from __future__ import annotations

import importlib
import io
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgetransfer.errors import DataError
from edgetransfer.spec.outside import MIB, Kind, content_of

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded: Pillow's own limit, 0.25 GiB of RGB."""
MAX_SIDE = 65_535
"""Longest side that JPEG can have."""
MAX_RATIO = 1_000
"""Longest side in shortest ones: a resize of the short side makes a picture that much longer."""
_MOST_BYTES = 512 * MIB
PICTURE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp"),
        *(".tif", ".tiff", ".avif", ".pgm", ".ppm", ".pbm", ".pnm", ".mpo"),
    }
)
_PLUGINS = ("Jpeg", "Png", "Bmp", "Gif", "WebP", "Tiff", "Avif", "Ppm")
FORMATS = tuple(plugin.upper() for plugin in _PLUGINS)
"""Only these are tried, so that a renamed EPS never reaches Ghostscript."""
for _plugin in _PLUGINS:  # Pillow's own lazy import of all of them is not thread-safe
    importlib.import_module(f"PIL.{_plugin}ImagePlugin")

_EXPECTED = "a whole JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF or PNM picture"
_FILE = Kind("picture", _MOST_BYTES, DataError, expected=_EXPECTED)
_DEEP_SUFFIXES = {".png", ".tif", ".tiff"}
_HALF = 1 << 15
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def decode(source: Path | str | bytes, *, where: str | None = None) -> Pixels:
    """Decode one picture to what a person sees on a white page: uint8 [H, W, 3], RGB.

    EXIF orientation is applied. Transparent pixels are laid over white (dropping alpha would show
    colours that nobody ever saw). 16-bit grey is scaled by 255/65535, not clipped. Grey, palette,
    1-bit, CMYK and YCbCr become RGB by Pillow's formulas. An animation gives its first frame. JPEG
    is decoded at full size: Pillow's draft mode would make pixels depend on a later resize.

    DataError where it is no picture, truncated, larger than `MAX_PIXELS`, or has pixels (32-bit,
    float) that have no agreed range.
    """
    name = where or ("the picture" if isinstance(source, bytes) else str(source))
    with _quiet_pillow(), _open(source, name) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(name, f"{width} x {height} pixels")
        if max(width, height) > MAX_SIDE or max(width, height) > MAX_RATIO * min(width, height):
            raise DataError(
                "the picture is too long and narrow",
                where=name,
                found=f"{width} x {height} pixels",
                expected=f"sides of at most {MAX_SIDE:,} pixels, one at most {MAX_RATIO:,} times "
                "the other",
                fix="cut it into pieces, or remove it",
            )
        if image.mode in {"I", "F"}:
            raise DataError(
                "the picture's pixels have no agreed range",
                where=name,
                found="32-bit integers" if image.mode == "I" else "floating point numbers",
                expected="8 or 16 bits a channel",
                fix="save it with 8 bits a channel",
            )
        try:
            image.load()
            with suppress(Exception):  # a damaged EXIF block is no reason to refuse sound pixels
                ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
        # Pillow's decoders raise anything on a damaged file, from SyntaxError to zlib.error.
        except Exception as error:
            raise _unreadable(name, error) from error


@contextmanager
def _open(source: Path | str | bytes, name: str) -> Iterator[Image.Image]:
    try:
        content = source if isinstance(source, bytes) else content_of(Path(source), _FILE)
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error)) from error
    except DataError:
        raise
    # As above: Pillow's header parsers raise anything on a damaged file.
    except Exception as error:
        raise _unreadable(name, error) from error
    with image:
        yield image


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        grey = ((wide * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, seen)
    return np.array(image.convert("RGB"))


def brightest_of_16_bits(paths: Iterable[Path]) -> tuple[int, int]:
    """Count 16-bit grey pictures until one uses the upper half; return the largest value too."""
    number = brightest = 0
    for path in paths:
        if path.suffix.lower() not in _DEEP_SUFFIXES:
            continue
        with _quiet_pillow(), Image.open(path, formats=FORMATS) as image:
            narrow = ";16" in str(image.tile)  # colours of 16 bits come with 8 of them
            if narrow or image.mode.startswith("I;16"):
                number += 1
                top = int(np.asarray(image).max())
                brightest = max(brightest, top if image.mode.startswith("I;16") else top * 257)
        if brightest > _HALF:
            break
    return number, brightest


def _unreadable(name: str, error: Exception) -> DataError:
    found = "no picture in a known format"
    if not isinstance(error, UnidentifiedImageError):
        found = str(error) or type(error).__name__
    return DataError("the picture cannot be read", where=name, found=found, expected=_EXPECTED)


def _too_large(name: str, found: str) -> DataError:
    return DataError(
        "the picture is too large",
        where=name,
        found=found,
        expected=f"at most {MAX_PIXELS:,} pixels",
        fix="make it smaller, or remove it",
    )


_lock = threading.Lock()
_depth = 0
_saved: warnings.catch_warnings[None] | None = None


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings in: each is either harmless or raised as a `DataError`.

    `warnings.catch_warnings` is not thread-safe before Python 3.14: two threads that leave it in
    the wrong order lose the caller's filters. So the first decoder in enters, the last one leaves.
    """
    global _depth, _saved
    with _lock:
        _depth += 1
        if _saved is None:
            _saved = warnings.catch_warnings()
            _saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0 and _saved is not None:
                _saved.__exit__(None, None, None)
                _saved = None
