"""The embedded data set of ``edgetransfer demo``: scikit-learn's handwritten digits."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

ROLES = ("train",) * 20 + ("validation",) * 40
"""Of the first examples of a class; the others are for the test."""
SEED = 0
_BRIGHTEST = 16


def write_digits(folder: Path) -> None:
    """Write 1,797 pictures of 8 x 8 pixels and a table with their labels and roles.

    20 examples a digit are for fitting and 40 for choosing, the rest (about 120) for judging,
    drawn with a fixed seed: the set is ordered by writer.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = folder / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    seen = np.zeros(10, dtype=int)
    rows = []
    for index in np.random.default_rng(SEED).permutation(len(digits.target)):
        values, label = digits.images[index], digits.target[index]
        name = f"images/{index:04d}.png"
        grey = np.round(values * (255 / _BRIGHTEST)).astype(np.uint8)
        Image.fromarray(grey).save(folder / name)
        role = ROLES[seen[label]] if seen[label] < len(ROLES) else "test"
        rows.append((name, int(label), role))
        seen[label] += 1
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("file", "label", "split"))
        table.writerows(rows)
