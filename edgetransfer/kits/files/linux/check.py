"""Runs the golden cases, and says which step of which is wrong; exits 1 where one is.

Usage: python check.py [MODEL_FOLDER [GOLDEN_FOLDER]]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict, Iterator, List

import numpy as np
from edge_model import Array, EdgeModel, decode, lines_of

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "0": "\0"}


def cases_of(folder: Path) -> List[Dict[str, str]]:
    """Read ``golden.tsv``: a case a line, by the names of the first."""
    head, *rows = (line.split("\t") for line in lines_of(folder / "golden.tsv"))
    return [dict(zip(head, row)) for row in rows]


def plain(text: str) -> str:
    """Undo what stands for a tab, the end of a line, a zero and a backslash."""
    found, letters = "", iter(text)
    for letter in letters:
        if letter == "\\":
            code = next(letters, "")
            letter = _ESCAPES.get(code, code)
        found += letter
    return found


class Check:
    """Golden cases against a model: `wrong` says what is, `worst` how far logits are off."""

    def __init__(self, model: EdgeModel, golden: Path) -> None:
        self._model = model
        self._golden = golden
        self.wrong: List[str] = []
        self.worst = 0.0
        self.cases = cases_of(golden)

    def run(self) -> None:
        """Check every case: what the app makes of it, then what the model makes of that."""
        of = self._text if self._model.takes_texts else self._picture
        for case in self.cases:
            self.wrong += of(case)

    def _text(self, case: Dict[str, str]) -> Iterator[str]:
        wanted = [int(each) for each in case["input_ids"].split(",")]
        found = self._model.tokenizer.ids(plain(case["text"]))
        if found != wanted:
            yield f"tokens {case['name']}: ids {found[:12]}, expected {wanted[:12]}"
        yield from self._logits(case, wanted)

    def _picture(self, case: Dict[str, str]) -> Iterator[str]:
        shape = int(case["height"]), int(case["width"]), 3
        raw = (self._golden / (case["name"] + ".picture.bin")).read_bytes()
        wanted = np.frombuffer(raw, np.uint8).reshape(shape)
        try:
            found = decode(self._golden / case["file"])
        except Exception as error:  # whatever a decoder raises
            yield f"decode {case['name']}: {error}"
        else:
            yield from _told_pixels(case["name"], found, wanted, int(case["levels"]))
        yield from self._logits(case, wanted)

    def _logits(self, case: Dict[str, str], given: Array) -> Iterator[str]:
        wanted = np.array(case[self._model.settings["output"]].split(","), dtype=np.float32)
        found = self._model.logits(given)
        apart = float(np.abs(found - wanted).max())
        self.worst = max(self.worst, apart)
        most = float(self._model.settings["tolerance_elsewhere"])
        if not apart <= most:
            yield f"model {case['name']}: logits are off by {apart:.4g}, more than {most:.4g}"


def _told_pixels(name: str, found: Array, wanted: Array, levels: int) -> Iterator[str]:
    if found.shape != wanted.shape:
        sizes = "{1} x {0} pixels, expected {3} x {2}".format(*found.shape[:2], *wanted.shape[:2])
        turned = ": it was not turned as its EXIF block says" if name.startswith("turned") else ""
        yield f"decode {name}: {sizes}{turned}"
        return
    apart = _apart(found, wanted)
    if apart > levels:
        why = f"bytes are off by {apart}, at most {levels} is right"
        if _apart(found[:, :, ::-1], wanted) <= levels:
            why = "red and blue are exchanged"
        yield f"decode {name}: {why}"


def _apart(one: Array, other: Array) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def main() -> int:
    """Run the cases, and print what is wrong, then a line."""
    here = Path(__file__).parent
    folders = [Path(each) for each in sys.argv[1:]] + [here / "model", here / "golden"]
    check = Check(EdgeModel(folders[0]), folders[1] if len(sys.argv) != 2 else here / "golden")
    check.run()
    for line in check.wrong:
        print(line)
    exact = check.worst <= float(check._model.settings["tolerance"])
    near = "as on the build host" if exact else "another kind of processor"
    print(
        f"{len(check.cases)} cases, {len(check.wrong)} wrong, "
        f"logits off by {check.worst:.3g} at most ({near})"
    )
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
