"""Feeds a reader of outside files with bytes that atheris makes up: a value, or one error of ours.

Usage: fuzz_readers.py READER [options of atheris: -max_total_time=60 CORPUS]; see ``make fuzz``.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edgetransfer.spec", "edgetransfer.bundle"]):
    from edgetransfer.backbone import files as backbone
    from edgetransfer.backbone.files import from_transformers
    from edgetransfer.bundle import readers
    from edgetransfer.data.tables import read_table
    from edgetransfer.errors import EdgeTransferError
    from edgetransfer.spec import catalogue
    from edgetransfer.spec.outside import parsed
    from edgetransfer.tasks.classification.ship.head_files import read_heads, read_statistics
    from edgetransfer.transport.job import Job, Variant
    from edgetransfer.transport.outcome import Transcript, checked

ROOM = Path(tempfile.mkdtemp(prefix="edgetransfer-fuzz-"))
JOBS = [Job(action, (Variant("a", "a.onnx"),)) for action in ("describe", "sustain", "energy")]


def answer(path):
    """What an agent says in its lines, and its result."""
    heard = Transcript(lambda *_: None)
    for line in path.read_bytes().decode("utf-8", "replace").split("\n"):
        heard.line(line)
    for job in JOBS:
        checked(job, parsed(path.read_bytes(), "fuzz"), ROOM, "fuzz")


READERS = {
    "manifest": (readers.read_manifest, "manifest.json"),
    "report": (readers.read_report, "report.json"),
    "golden": (readers.read_golden, "index.json"),
    "portability": (readers.read_portability, "portability.json"),
    "contract": (readers.read_contract, "preprocess.json"),
    "labels": (readers.read_labels, "labels.txt"),
    "target": (lambda path: catalogue.target(str(path)), "target.toml"),
    "calibration": (lambda path: catalogue.calibration_recipe(str(path)), "calibration.toml"),
    "config": (backbone.read_config, "config.json"),
    "preprocessor": (from_transformers, "preprocessor_config.json"),
    "card": (backbone.read_card, "card.json"),
    "weights": (backbone.read_weights, "model.safetensors"),
    "head": (read_heads, "head.safetensors"),
    "statistics": (read_statistics, "statistics.safetensors"),
    "answer": (answer, "answer"),
    "csv": (read_table, "data.csv"),
    "jsonl": (read_table, "data.jsonl"),
}


def main():
    """Fuzz the reader that is named first."""
    name = sys.argv.pop(1)
    read, file = READERS[name]
    path = ROOM / file

    def once(content):
        path.write_bytes(content)
        try:
            read(path)
        except EdgeTransferError as error:
            str(error).encode()

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
