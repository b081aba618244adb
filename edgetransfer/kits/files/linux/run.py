"""Classifies pictures, or texts: python run.py FILE_OR_TEXT...; one line each."""

from __future__ import annotations

import sys
from pathlib import Path

from edge_model import EdgeModel, KitError


def main() -> int:
    """Classify each argument, and print a line for it; 1 where one could not be read."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    model, wrong = EdgeModel(Path(__file__).parent / "model"), 0
    for given in sys.argv[1:]:
        try:
            labels, accepted = model.classify(given)
        except (KitError, OSError) as error:
            wrong += 1
            print(f"{given}: {error}", file=sys.stderr)
            continue
        told = ", ".join(f"{name} {probability:.3f}" for name, probability in labels)
        print(f"{given}\t{told}" + ("" if accepted else "\tnot sure"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
