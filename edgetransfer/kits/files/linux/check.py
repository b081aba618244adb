"""Runs the golden cases on this device, says which step of which is wrong, and times the model.

Usage: python check.py [MODEL_FOLDER [GOLDEN_FOLDER]]

Exits 1 where a case is wrong. All that was measured goes to ``measured.json`` in the working
directory. Times are of a case's decoded picture, or of its token ids, to logits.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
from edge_model import KIT, Array, EdgeModel, KitError, decode, lines_of

SCHEMA = "edgetransfer.app/1"
MEASURED = "measured.json"
WARM_UPS, RUNS = 5, 50
_LONGEST = 500
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "0": "\0"}
_GIVEN = {"picture": ("file", "height", "width", "levels"), "text": ("text", "input_ids")}
_BOARD, _PROCESSORS = Path("/proc/device-tree/model"), Path("/proc/cpuinfo")


def cases_of(folder: Path, model: EdgeModel) -> List[Dict[str, str]]:
    """Read ``golden.tsv``: a case a line, by the names of the first."""
    file = folder / "golden.tsv"
    head, *rows = (line.split("\t") for line in lines_of(file))
    for name in ("name", *_GIVEN[model.settings["kind"]], model.settings["output"]):
        if name not in head:
            raise KitError(f"{file}: no column {name}, which this model's cases have")
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise KitError(f"{file}, line {number}: {len(row)} cells, not {len(head)}")
    if not rows:
        raise KitError(f"{file}: no case")
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
    """Golden cases against a model.

    Attributes:
        wrong: a sentence for every step that is.
        worst: how far logits are off at most.
        outputs: the logits of every case that the model ran, by its name.
        milliseconds: of every timed run of the first case.
    """

    def __init__(self, model: EdgeModel, golden: Path) -> None:
        self.model = model
        self._golden = golden
        self.cases = cases_of(golden, model)
        self.wrong: List[str] = []
        self.worst = 0.0
        self.outputs: Dict[str, Array] = {}
        self.milliseconds: List[float] = []

    def run(self) -> None:
        """Check every case: what the app makes of it, then what the model makes of that."""
        for case in self.cases:
            try:
                self.wrong += self._steps(case)
            except ValueError as error:
                raise KitError(
                    f"{self._golden}: case {case['name']} is damaged: {error}"
                ) from error

    def time(self) -> None:
        """Time the model on the first case, after some runs that do not count."""
        if self.cases[0]["name"] not in self.outputs:
            return  # `wrong` says why the model did not run
        given = self._given(self.cases[0])
        for run in range(WARM_UPS + RUNS):
            start = time.perf_counter_ns()
            self.model.logits(given)
            if run >= WARM_UPS:
                self.milliseconds.append((time.perf_counter_ns() - start) / 1e6)

    def measured(self) -> Dict[str, Any]:
        """Return all that was measured, as ``measured.json`` has it."""
        cases = [{"name": name, "outputs": each.tolist()} for name, each in self.outputs.items()]
        return {
            "schema": SCHEMA,
            "kit": KIT,
            "sha256": self.model.settings["sha256"],
            "runtime": self.model.runtime,
            "device": device(),
            "cases": cases,
            "wrong": [each[:_LONGEST] for each in self.wrong],
            "milliseconds": self.milliseconds,
        }

    def _given(self, case: Dict[str, str]) -> Array:
        """Return what the model takes: token ids, or a picture."""
        if self.model.takes_texts:
            return [int(each) for each in case["input_ids"].split(",")]
        file = self._golden / (case["name"] + ".picture.bin")
        shape = int(case["height"]), int(case["width"]), 3
        try:
            return np.frombuffer(file.read_bytes(), np.uint8).reshape(shape)
        except OSError as error:
            raise KitError(f"{file} cannot be read: {error}") from error

    def _steps(self, case: Dict[str, str]) -> Iterator[str]:
        given = self._given(case)
        yield from (self._tokens if self.model.takes_texts else self._picture)(case, given)
        yield from self._logits(case, given)

    def _tokens(self, case: Dict[str, str], wanted: Array) -> Iterator[str]:
        found = self.model.tokenizer.ids(plain(case["text"]))
        if found != wanted:
            yield f"tokens {case['name']}: ids {found[:12]}, expected {wanted[:12]}"

    def _picture(self, case: Dict[str, str], wanted: Array) -> Iterator[str]:
        levels = int(case["levels"])
        try:
            found = decode(self._golden / case["file"])
        except KitError as error:
            yield f"decode {case['name']}: {error}"
        else:
            yield from _told_pixels(case["name"], found, wanted, levels)

    def _logits(self, case: Dict[str, str], given: Array) -> Iterator[str]:
        output = self.model.settings["output"]
        wanted = np.array(case[output].split(","), dtype=np.float32)
        try:
            found = self.model.logits(given)
        except KitError as error:
            yield f"model {case['name']}: {error}"
            return
        self.outputs[case["name"]] = found
        if found.shape != wanted.shape:
            yield f"model {case['name']}: {found.size} {output}, expected {wanted.size}"
            return
        apart = float(np.abs(found - wanted).max())
        self.worst = max(self.worst, apart)
        most = self.model.settings.number("tolerance_elsewhere")
        if not apart <= most:
            yield f"model {case['name']}: {output} are off by {apart:.4g}, more than {most:.4g}"


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


def device() -> str:
    """Return what this device is called: by its device tree, or else its processor."""
    try:
        return _BOARD.read_text("utf-8", "replace").rstrip("\0\n")
    except OSError:
        pass
    try:
        lines = _PROCESSORS.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def told(check: Check) -> Iterator[str]:
    """Yield what came of a check, in two lines."""
    exact = check.worst <= check.model.settings.number("tolerance")
    near = "as on the build host" if exact else "another kind of processor or runtime"
    yield (
        f"{len(check.cases)} cases, {len(check.wrong)} wrong, "
        f"logits off by {check.worst:.3g} at most ({near})"
    )
    if check.milliseconds:
        middle, high = np.percentile(check.milliseconds, (50, 90))
        yield (
            f"{middle:.2f} ms median, {high:.2f} ms 90th percentile of {RUNS} runs of "
            f"{check.cases[0]['name']}: {check.model.runtime}, {device()}"
        )


def main() -> int:
    """Run the cases and time one; print what is wrong, then two lines."""
    given = [Path(each) for each in sys.argv[1:]]
    model = given[0] if given else Path(__file__).parent / "model"
    golden = given[1] if given[1:] else golden_of(model)
    try:
        check = Check(EdgeModel(model), golden)
        check.run()
        check.time()
        Path(MEASURED).write_text(json.dumps(check.measured()), encoding="utf-8")
        for line in (*check.wrong, *told(check)):
            print(line)
    except (KitError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if check.wrong else 0


def golden_of(model: Path) -> Path:
    """Return where the golden cases of a model lie: in its folder after an update, else beside."""
    return model / "golden" if (model / "golden").is_dir() else model.parent / "golden"


if __name__ == "__main__":
    sys.exit(main())
