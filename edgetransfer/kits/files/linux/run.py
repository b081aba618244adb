"""Classifies pictures, or texts: python run.py FILE_OR_TEXT...; one line each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge_model import EdgeModel, KitError


def main() -> int:
    """Classify each argument, and print a line for it; 1 where one could not be read."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    for stream in (sys.stdout, sys.stderr):  # names of files and labels are printed as they are
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    wrong = 0
    try:
        model = EdgeModel(Path(__file__).parent / "model")
        for given in sys.argv[1:]:
            try:
                print(line(model, given))
            except KitError as error:
                wrong += 1
                print(f"{given}: {error}", file=sys.stderr)
    except KitError as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if wrong else 0


def line(model: EdgeModel, given: str) -> str:
    """Return what is printed of one argument."""
    text = os.fsencode(given).decode("utf-8", "replace")
    labels, accepted = model.classify(text if model.takes_texts else given)
    told = ", ".join(f"{name} {probability:.3f}" for name, probability in labels)
    return f"{given}\t{told}" + ("" if accepted else "\tnot sure")


if __name__ == "__main__":
    sys.exit(main())
