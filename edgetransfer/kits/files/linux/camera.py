"""Classifies what a camera sees: python camera.py [CAMERA]; a line for each picture.

CAMERA is the number of one (0), or a file or an address that OpenCV opens. It needs OpenCV beside
the rest: pip install opencv-python-headless. Ctrl-C ends it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Iterator

from edge_model import Array, EdgeModel, KitError


def main() -> int:
    """Print the likeliest label, its probability and the time of each picture."""
    camera = sys.argv[1] if len(sys.argv) > 1 else "0"
    try:
        model = EdgeModel(Path(__file__).parent / "model")
        if model.takes_texts:
            raise KitError("the model takes texts, and a camera gives none")
        for picture in pictures(int(camera) if camera.isdigit() else camera):
            start = time.perf_counter()
            (best, *_), accepted = model.classify(picture)
            spent = (time.perf_counter() - start) * 1e3
            sure = "" if accepted else "\tnot sure"
            print(f"{best.name} {best.probability:.3f}\t{spent:.1f} ms{sure}", flush=True)
    except KitError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def pictures(camera: int | str) -> Iterator[Array]:
    """Yield RGB, as a model takes it, of each picture until there is no more."""
    try:
        import cv2
    except ImportError as error:
        raise KitError("a camera needs OpenCV: pip install opencv-python-headless") from error
    source = cv2.VideoCapture(camera)
    # An old picture in a queue is no use to who looks at the newest; not every driver listens.
    source.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    try:
        there, picture = source.read()
        if not there:
            raise KitError(f"camera {camera} gives no picture: see what `ls /dev/video*` lists")
        while there:
            yield picture[:, :, ::-1]
            there, picture = source.read()
    finally:
        source.release()


if __name__ == "__main__":
    sys.exit(main())
