"""Fuzzes every reader (or those named) for FUZZ_SECONDS (600), from sound files on; one a core."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


def finding(reader: str) -> str:
    """What a reader did other than return or refuse; empty where nothing."""
    room = ROOT / ".venv" / "fuzz"
    corpus = room / reader
    corpus.mkdir(parents=True, exist_ok=True)
    for file in ROOT.glob(SOUND.get(reader, "nothing")):
        shutil.copyfile(file, corpus / file.name)
    command = [sys.executable, str(HERE / "fuzz_readers.py"), reader]
    limits = ["-max_len=20000", "-timeout=20", "-rss_limit_mb=4096"]
    options = [f"-max_total_time={os.environ.get('FUZZ_SECONDS', '600')}", *limits]
    done = subprocess.run(
        [*command, *options, f"-artifact_prefix={room}/{reader}-", str(corpus)],
        check=False, cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    runs = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
    print(f"{reader}: {' '.join(runs) or 'no end'}", flush=True)
    return "" if done.returncode == 0 else f"{reader}: {done.stderr[-3000:]}"


def main() -> int:
    """Return 0 where no reader did anything else than return or refuse."""
    with ThreadPoolExecutor(os.cpu_count()) as cores:
        found = [each for each in cores.map(finding, sys.argv[1:] or READERS) if each]
    print("\n".join(found))
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
