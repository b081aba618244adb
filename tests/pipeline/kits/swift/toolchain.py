"""Runs Swift, which lies in a root of its own, on a kit."""

import os
import shutil
import subprocess
from pathlib import Path

import onnxruntime
import pytest

SWIFT = Path(os.environ.get("EDGETRANSFER_TEST_SWIFT", "")).resolve()
"""The folder that `scripts/fetch_swift.py` fills."""
ROOT = SWIFT / "root"
HERE = Path(__file__).parent
OPTIONS = (
    "-c", "release", "--disable-sandbox", "-Xswiftc", "-warnings-as-errors",
    "-Xcc", "-I/headers", "-Xlinker", "-L/library",
)  # fmt: skip
IN_ROOT = """
for place in proc dev; do mount --rbind /$place $0/$place; done
while [ "$1" != -- ]; do mount --bind "$2" "$0/$1"; shift 2; done; shift
exec chroot $0 /usr/bin/env -C /kit HOME=/tmp LD_LIBRARY_PATH=/library \
  PATH=/usr/libexec/swift/bin:/usr/bin "$@"
"""


def needed():
    """Skip a test where there is no Swift, or it cannot be run."""
    if not ROOT.is_dir():
        pytest.skip("the compiler comes by make test-swift")
    if os.geteuid() != 0:
        pytest.skip("Swift runs in a root of its own, which root alone can enter")


def library(room):
    """Return a folder with ONNX Runtime's library under the names that are looked for."""
    (found,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1.*")
    shutil.copyfile(found, room / "libonnxruntime.so.1")
    (room / "libonnxruntime.so").symlink_to("libonnxruntime.so.1")
    return room


class Package:
    """A kit that Swift builds, with a folder of what a proof gives to it, and takes from it."""

    def __init__(self, kit, library, proof):
        self.kit = kit
        self.proof = proof
        self._seen = {"kit": kit, "headers": SWIFT / "headers", "library": library, "proof": proof}

    def run(self, *command):
        """Run a program inside the root; return its exit code, and all that it printed."""
        for name in self._seen:
            (ROOT / name).mkdir(exist_ok=True)
        places = [str(each) for pair in self._seen.items() for each in pair]
        inside = ["unshare", "--mount", "bash", "-c", IN_ROOT, str(ROOT), *places, "--", *command]
        done = subprocess.run(
            inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
        )
        return done.returncode, done.stdout

    def swift(self, task, *more):
        """Build, or test what was built."""
        return self.run("swift", task, *OPTIONS, *more)

    def check(self, *folders):
        """Run the golden cases by the program of the kit."""
        return self.run(".build/release/golden", *folders)
