"""Pictures come out as a person sees them, and broken ones are refused by name."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgetransfer.data import decode as module
from edgetransfer.data.decode import decode
from edgetransfer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = "a whole JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF or PNM picture"


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_lossless_formats_keep_pixels(kind: str) -> None:
    pixels = np.repeat(noise(6, 4, 1), 3, axis=2)  # grey, so that GIF's 256 colours suffice
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(pixels[:, :, 0] if kind == "GIF" else pixels)
    decoded = decode(encode(image, kind, **options))
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, pixels)


def test_a_file_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    data = encode(Image.fromarray(noise(16, 16, 3)), "JPEG", quality=90)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    np.testing.assert_array_equal(decode(path), decode(data))
    np.testing.assert_array_equal(decode(str(path)), decode(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation: int, kind: str) -> None:
    image = Image.fromarray(np.repeat(np.repeat(noise(2, 3, 3), 8, axis=0), 8, axis=1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(image, kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    decoded = decode(data)
    assert decoded.shape == ((16, 24, 3) if orientation < 5 else (24, 16, 3))
    np.testing.assert_array_equal(decoded, np.asarray(upright.convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    levels = np.array([[0, 1, 128, 129], [256, 257, 40000, 65535]], np.uint16)
    expected = np.array([[0, 0, 0, 1], [1, 1, 156, 255]], np.uint8)
    for kind in ("PNG", "TIFF"):
        decoded = decode(encode(Image.fromarray(levels), kind))
        np.testing.assert_array_equal(decoded, np.stack([expected] * 3, axis=-1))


def test_hidden_colours_give_way_to_white() -> None:
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    seen = [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    np.testing.assert_array_equal(decode(encode(Image.fromarray(pixels))), seen)


def test_grey_with_alpha_and_transparent_palette() -> None:
    grey = Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8), "LA")
    np.testing.assert_array_equal(decode(encode(grey))[0], [[9] * 3, [255] * 3])
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    data = encode(palette, transparency=b"\x00\xff")
    np.testing.assert_array_equal(decode(data)[0], [[255] * 3, [40, 50, 60]])


def test_one_bit_and_cmyk() -> None:
    one_bit = Image.fromarray(np.array([[True, False]]))
    np.testing.assert_array_equal(decode(encode(one_bit))[0], [[255] * 3, [0] * 3])
    cmyk = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    np.testing.assert_array_equal(decode(encode(cmyk, "TIFF"))[0, 0], [0, 255, 255])


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("L", (2, 2), level) for level in (10, 200)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(data) == 10).all()


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.bmp"
    path.write_bytes(encode(Image.fromarray(noise(32, 32, 3)), "BMP")[:1000])
    with pytest.raises(DataError) as caught:
        decode(path)
    assert str(caught.value) == (
        f"{path}: the picture cannot be read\n"
        "  found: image file is truncated (82 bytes not processed)\n"
        f"  expected: {WHOLE}"
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_every_format_is_refused_when_cut(kind: str) -> None:
    data = encode(Image.fromarray(noise(64, 64, 3)), kind)
    with pytest.raises(DataError, match=r"^the picture: the picture cannot be read\n"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(DataError) as caught:
        decode(data, where="row 3")
    assert str(caught.value) == (
        "row 3: the picture cannot be read\n"
        f"  found: no picture in a known format\n  expected: {WHOLE}"
    )


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        decode(tmp_path / "a.png")
    assert str(caught.value) == (
        f"{tmp_path / 'a.png'}: not a readable picture\n  found: no such file\n  expected: {WHOLE}"
    )


@pytest.mark.parametrize(
    ("levels", "found"),
    [
        (np.zeros((2, 2), np.float32), "floating point numbers"),
        (np.zeros((2, 2), np.int32), "32-bit integers"),
    ],
)
def test_pixels_without_range(levels: np.ndarray, found: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(encode(Image.fromarray(levels), "TIFF"))
    assert str(caught.value) == (
        "the picture: the picture's pixels have no agreed range\n"
        f"  found: {found}\n  expected: 8 or 16 bits a channel\n"
        "  fix: save it with 8 bits a channel"
    )


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, in 60 bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_decompression_bombs() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as caught:
            decode(png_header(10_000, 9_000))
        assert str(caught.value) == (
            "the picture: the picture is too large\n"
            "  found: 10000 x 9000 pixels\n"
            "  expected: at most 89,478,485 pixels\n"
            "  fix: make it smaller, or remove it"
        )
        with pytest.raises(DataError, match="the picture is too large"):
            decode(png_header(60_000, 60_000))


def test_damaged_exif_is_no_reason_to_refuse() -> None:
    data = encode(Image.fromarray(noise(8, 8, 3)), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff")
    assert decode(data).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damage_never_escapes_as_anything_else(kind: str) -> None:
    data = encode(Image.fromarray(noise(12, 12, 3)), kind)
    rng = np.random.default_rng(7)
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(0, min(len(data), 200), 4)] = rng.integers(0, 256, 4)
        with contextlib.suppress(DataError):
            assert decode(damaged.tobytes()).dtype == np.uint8


def test_two_pictures_in_one_jpeg() -> None:
    first, second = (Image.new("RGB", (8, 8), (level,) * 3) for level in (40, 200))
    data = encode(first, "MPO", save_all=True, append_images=[second])
    assert (decode(data) == 40).all()


def test_warnings_stay_in_and_filters_survive_threads() -> None:
    # Pillow only warns about this size.
    size = (module.MAX_PIXELS // 1000 + 1, 1000)
    data = png_header(*size)

    def attempt(_: int) -> str:
        with pytest.raises(DataError) as caught:
            decode(data)
        return str(caught.value).splitlines()[0]

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(attempt, range(200))) == {"the picture: the picture is too large"}
        assert warnings.filters == before
    assert seen == []


def test_warnings_stay_in_while_another_thread_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = png_header(module.MAX_PIXELS // 1000 + 1, 1000)
    started, finish = threading.Event(), threading.Event()
    pillow_open = Image.open

    def open_slowly(stream: io.BytesIO, formats: tuple[str, ...]) -> Image.Image:
        if stream.getvalue() == slow:
            started.set()
            finish.wait(5)
        return pillow_open(stream, formats=formats)

    monkeypatch.setattr(module.Image, "open", open_slowly)
    with warnings.catch_warnings(record=True) as seen, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        pending = pool.submit(decode, slow)
        started.wait(5)
        decode(encode(Image.new("L", (1, 1))))
        finish.set()
        assert "too large" in str(pending.exception())
    assert seen == []


@pytest.mark.parametrize("size", [(1, 89_000_000), (89_000_000, 1), (4, 65_000), (70_000, 900)])
def test_d4_long_and_narrow_pictures(size: tuple[int, int]) -> None:
    """Fault D4: 1 x 89,000,000 is within the limit of pixels, and its resize never ended."""
    with pytest.raises(DataError) as caught:
        decode(png_header(*size))
    assert str(caught.value) == (
        "the picture: the picture is too long and narrow\n"
        f"  found: {size[0]} x {size[1]} pixels\n"
        "  expected: sides of at most 65,535 pixels, one at most 1,000 times the other\n"
        "  fix: cut it into pieces, or remove it"
    )


def test_d4_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    """Fault D4."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, found in (("pipe.png", "a named pipe, no file"), ("zero.png", "a device, no file")):
        with pytest.raises(DataError) as caught:
            decode(tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name}: not a readable picture\n  found: {found}\n  expected: {WHOLE}"
        )


def test_d6_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    """Fault D6: it was told as a picture of an unknown format."""
    file = tmp_path / "a.png"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError) as caught:
        decode(file)
    assert str(caught.value) == (
        f"{file}: not a readable picture\n"
        "  found: a pointer of Git LFS, not the file: run `git lfs pull`\n"
        f"  expected: {WHOLE}"
    )


def test_d4_text_that_was_packed_small() -> None:
    """Fault D4: 100 MB of white space in a chunk of text."""
    data = encode(Image.fromarray(noise(8, 8, 3)), "PNG")
    body = b"Comment\x00\x00" + zlib.compress(b" " * 100_000_000)
    crc = struct.pack(">I", zlib.crc32(b"zTXt" + body))
    bomb = data[:33] + struct.pack(">I", len(body)) + b"zTXt" + body + crc + data[33:]
    with pytest.raises(DataError, match="Decompressed data too large"):
        decode(bomb)
