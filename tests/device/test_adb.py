"""The browser route over a real adbd; a desktop Chromium stands in for the phone's browser.

What cannot be had here is played: `am`, which opens an address, and `getprop`. Whether a phone asks
to be allowed is not covered: this adbd asks for nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.errors import EdgeTransferError
from edgetransfer.spec.catalogue import default_cache
from edgetransfer.transport.browser import place, runtime

ADBD = default_cache() / "adbd"

DRIVER = """
import json, subprocess, sys, time
from pathlib import Path
from edgetransfer.transport.job import Job, TimingPlan, Variant
from edgetransfer.transport.place import connect

folder, root = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
lib = root / "usr/lib/x86_64-linux-gnu"
daemon = subprocess.Popen(
    [lib / "ld-linux-x86-64.so.2", "--library-path", f"{lib}:{lib}/android",
     root / "usr/lib/android-sdk/platform-tools/adbd"],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(100):
        told = subprocess.run(["adb", "connect", "127.0.0.1:5599"], capture_output=True, text=True)
        if "connected to" in told.stdout:
            break
        time.sleep(0.2)
    variant = Variant("candidate", str(folder / "m.onnx"), {"x": str(folder / "x.npy")}, threads=2)
    with connect("adb:127.0.0.1:5599") as place:
        job = Job("time", (variant,), TimingPlan(2, 0.01, 0.0, 0.1))
        told = {
            "logits": dict(place.run(Job("outputs", (variant,)), folder)),
            "times": dict(place.run(job, folder)),
            **place.run(Job("describe"), folder),
            "reversed": subprocess.run(["adb", "reverse", "--list"], capture_output=True,
                                       text=True).stdout.split(),
        }
    left = subprocess.run(["adb", "reverse", "--list"], capture_output=True, text=True)
    print(json.dumps({**told, "left": left.stdout.split()}))
finally:
    subprocess.run(["adb", "kill-server"], capture_output=True)
    daemon.kill()
    daemon.wait()
"""
AM = """\
#!/bin/sh
[ "$1 $2 $3 $4" = "start -a android.intent.action.VIEW -d" ] || { echo "Error: $*"; exit 0; }
export TMPDIR=FOLDER HOME=FOLDER
setsid chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \\
    --user-data-dir=FOLDER/profile "$5" >/dev/null 2>&1 </dev/null &
echo $! >FOLDER/browser.pid
echo "Starting: Intent { act=android.intent.action.VIEW dat=$5 }"
"""
GETPROP = """\
#!/bin/sh
case $1 in ro.product.model) echo 'Stand-in 1' ;; ro.soc.model) echo SM0000 ;; *) echo ;; esac
"""


@pytest.fixture(autouse=True)
def prepared():
    if not ADBD.is_dir():
        pytest.skip("no adbd: make prepare-adbd")
    absent = [each for each in ("adb", "unshare", "ip") if shutil.which(each) is None]
    if absent or os.geteuid() != 0:
        pytest.skip(f"a network of its own needs root and {', '.join(absent) or 'that is all'}")
    try:
        place.find()
        runtime.prepared("wasm")
    except EdgeTransferError as error:
        pytest.skip(str(error))


@pytest.fixture
def phone(tmp_path):
    """Lay out a folder with a model and what the stand-in phone has on its path."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["logits"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        initializer=[numpy_helper.from_array(np.float32(2), "two")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    for name, text in (("am", AM), ("getprop", GETPROP)):
        (tmp_path / name).write_text(text.replace("FOLDER", str(tmp_path)))
        (tmp_path / name).chmod(0o755)
    yield tmp_path
    if (tmp_path / "browser.pid").is_file():  # its group is its own, by setsid
        subprocess.run(["kill", "-9", "--", "-" + (tmp_path / "browser.pid").read_text().strip()])


def test_the_phones_browser_does_the_jobs(phone):
    environment = {
        **os.environ,
        "PATH": f"{phone}:{os.environ['PATH']}",
        "ADBD_PORT": "5599",
        "HOME": str(phone),
        "EDGETRANSFER_CACHE": str(default_cache()),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", textwrap.dedent(DRIVER), str(phone), str(ADBD)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    np.testing.assert_array_equal(np.load(phone / "output-0.npy"), 2 * np.load(phone / "x.npy"))
    assert len(np.load(phone / "candidate.npy")) >= 2
    assert told["logits"]["threads"] == 2
    found = told["environment"]
    assert found["route"] == "the device's browser, through adb reverse"
    assert found["device"] == "Stand-in 1"
    assert found["cpu"] == "SM0000"
    assert found["secure_context"] is True
    assert found["cross_origin_isolated"] is True
    assert found["process"] == "a worker of one page"
    assert found["warnings"][0] == (
        "measured in the device's browser: times of an app with a runtime of its own are others"
    )
    assert len(told["reversed"]) == 3
    assert told["left"] == []
