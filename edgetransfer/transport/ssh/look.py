"""Runs on the device under whatever Python there is: says what that is and what it can import.

It is not read by this machine, and keeps to what Python 2.7 can parse, to say that 2.7 is too old.
"""

# mypy: ignore-errors
import json
import os
import platform
import struct
import subprocess
import sys

MARK = "edgetransfer-look/1"
_TRY = "import %s; print(%s.__version__)"


def tried(package, site):
    """Import a package in a process of its own: a runtime can crash it."""
    environment = dict(os.environ, ORT_DISABLE_TELEMETRY="1")
    if site:
        environment["PYTHONPATH"] = site
    done = subprocess.run(
        [sys.executable, "-c", _TRY % (package, package)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=environment,
        check=False,
    )
    words = done.stderr.strip()[-600:]
    return {"returncode": done.returncode, "version": done.stdout.strip(), "words": words}


def main(site):
    """Print one line of JSON; return 0 where the agent can run."""
    imports = {}
    if sys.version_info >= (3, 9):
        imports = {name: tried(name, site) for name in ("numpy", "onnxruntime")}
    told = {
        "python": sys.executable,
        "version": list(sys.version_info[:3]),
        "system": platform.system(),
        "machine": platform.machine(),
        "bits": struct.calcsize("P") * 8,
        "libc": " ".join(platform.libc_ver()).strip(),
        "imports": imports,
    }
    print(json.dumps(told))
    return 0 if imports and not any(each["returncode"] for each in imports.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
