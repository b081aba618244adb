"""Fuzzes one reader after the other, FUZZ_SECONDS in all (600 by default), from sound files on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
READERS = [
    *("manifest", "report", "golden", "portability", "contract", "labels", "target", "calibration"),
    *("config", "preprocessor", "card", "weights", "head", "statistics", "answer", "csv", "jsonl"),
]
SOUND = {
    "target": "targets/*.toml",
    "calibration": "calibration/recipes/*.toml",
    "card": "edgetransfer/backbone/weights/*/card.json",
    "report": "tests/unit/measure/*.json",
}


def main() -> int:
    """Return 0 where no reader did anything else than return or refuse."""
    seconds = max(1, int(os.environ.get("FUZZ_SECONDS", "600")) // len(READERS))
    room = ROOT / ".venv" / "fuzz"
    found = []
    for reader in sys.argv[1:] or READERS:
        corpus = room / reader
        corpus.mkdir(parents=True, exist_ok=True)
        for file in ROOT.glob(SOUND.get(reader, "nothing")):
            shutil.copyfile(file, corpus / file.name)
        command = [sys.executable, str(HERE / "fuzz_readers.py"), reader]
        limits = ["-max_len=20000", "-timeout=20", "-rss_limit_mb=4096"]
        options = [f"-max_total_time={seconds}", *limits]
        done = subprocess.run(
            [*command, *options, f"-artifact_prefix={room}/{reader}-", str(corpus)],
            check=False, cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        print(f"{reader}: {'ok' if done.returncode == 0 else done.stderr[-3000:]}", flush=True)
        if done.returncode != 0:
            found.append(reader)
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
