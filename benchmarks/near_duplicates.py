"""How many near-duplicates are listed in real data, and how many made ones are found.

Usage: python benchmarks/near_duplicates.py RESULT.json [CASE ...]

`listed` counts pairs in the data as it is, all splits. `found` is the share of copies that are
listed with what they were made of: 60 training or validation pictures, changed in one way each and
put in the place of the test set; null where the change left all pixels as they were. Thresholds
were chosen on the first four cases.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from real_data import CASES, opened_of

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.data.decode import decode
from edgetransfer.data.digests import picture_digest
from edgetransfer.transfer.study.near_duplicates import candidates, confirmed, surfaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgetransfer.data.manifest import Example

Array = np.ndarray[Any, Any]
COPIES, SEED = 60, 0


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue()))


def _crop(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    beside, above = round(width * share / 2), round(height * share / 2)
    return picture.crop((beside, above, width - beside, height - above))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 75": lambda picture: _jpeg(picture, 75),
    "JPEG, quality 30": lambda picture: _jpeg(picture, 30),
    "half the size": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "1.2 times as bright": lambda picture: picture.point(lambda value: min(255, int(1.2 * value))),
    "cropped by 5 %": lambda picture: _crop(picture, 0.05),
    "cropped by 10 %": lambda picture: _crop(picture, 0.10),
}


def changed(example: Example, change: Callable[[Image.Image], Image.Image], file: Path) -> Example:
    """Write a changed copy of a picture."""
    assert example.path is not None  # pictures only
    picture = change(Image.fromarray(decode(example.path))).convert("RGB")
    picture.save(file)
    return replace(example, path=file, digest=picture_digest(np.asarray(picture)))


def measure(name: str) -> dict[str, Any]:
    """Count what is listed in one data set, then make copies and look for them."""
    manifest, opened = opened_of(name)
    known = (*manifest.split("train"), *manifest.split("validation"))
    labels = manifest.label_index(known)
    rows = np.load(opened.features_of(manifest.examples).file("features.npy"))
    place = {example.key: row for row, example in enumerate(manifest.examples)}
    everything = (*known, *manifest.split("test"))
    features = rows[[place[example.key] for example in everything]]

    def look(examples: tuple[Example, ...], theirs: Array) -> list[tuple[int, int]]:
        pairs, ratios = candidates(surfaces(examples), labels)
        differ = [examples[a].digest != examples[b].digest for a, b in pairs]
        found, _ = confirmed(pairs[differ], ratios[differ], theirs, labels)
        return [(int(a), int(b)) for a, b in found]

    pairs = look(everything, features)
    listed = [[everything[a].text or everything[a].key, everything[b].text or everything[b].key]
              for a, b in pairs]  # fmt: skip
    tested = len({b for _, b in pairs if b >= len(known)})
    told = {"case": name, "examples": len(everything), "listed": len(pairs), "of_test": tested}
    if manifest.modality == "text":
        return {**told, "pairs": listed}
    drawn = np.random.default_rng(SEED).permutation(len(known))[:COPIES]
    found = {}
    for way, change in CHANGES.items():
        with tempfile.TemporaryDirectory() as room:
            copies = tuple(changed(known[row], change, Path(room) / f"{row}.png") for row in drawn)
            theirs = np.load(opened.features_of(copies).file("features.npy"))
            pairs = look((*known, *copies), np.concatenate([features[: len(known)], theirs]))
        made = {
            (int(row), len(known) + number)
            for number, row in enumerate(drawn)
            if copies[number].digest != known[row].digest
        }
        found[way] = round(len(made & set(pairs)) / len(made), 3) if made else None
    return {**told, "found": found, "pairs": listed}


def main() -> None:
    """Print one row for each case, and write all."""
    rows = []
    for name in sys.argv[2:] or CASES:
        rows.append(measure(name))
        print(json.dumps({key: rows[-1][key] for key in rows[-1] if key != "pairs"}), flush=True)
        record = {"environment": fingerprint(runtime_facts()), "rows": rows}
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
