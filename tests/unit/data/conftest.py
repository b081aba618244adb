"""Tiny data sets, built afresh for each test."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Write a small random picture; equal seeds give equal pixels."""

    def write(name: str, seed: int) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
        buffer = io.BytesIO()  # so that the file's name need not say what is in it
        Image.fromarray(pixels).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
        return path

    return write


@pytest.fixture
def pictures(picture: Callable[..., Path]) -> Callable[..., None]:
    """Fill folders, each named with how many pictures it gets, all different."""
    seeds = iter(range(10**6))

    def fill(**folders: int) -> None:
        for folder, number in folders.items():
            for i in range(number):
                picture(f"{folder.replace('__', '/')}/{i}.png", next(seeds))

    return fill


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Write a CSV (or TSV) from its header, a comma-separated string, and its rows."""

    def write(name: str, header: str, rows: Iterable[Iterable[str]]) -> Path:
        path = tmp_path / name
        delimiter = "\t" if path.suffix == ".tsv" else ","
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter=delimiter)
            writer.writerow(header.split(","))
            writer.writerows(rows)
        return path

    return write


def _texts(label: str, number: int) -> list[tuple[str, str]]:
    return [(f"{label} says {i}", label) for i in range(number)]


@pytest.fixture
def texts() -> Callable[[str, int], list[tuple[str, str]]]:
    """Rows of different texts with one label."""
    return _texts
