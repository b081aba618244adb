"""A headless Chromium whose page is asked, drawn and printed through its debugging pipe."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from edgetransfer.errors import UnsupportedError
from edgetransfer.transport.browser import place

AXE = Path(os.environ.get("EDGETRANSFER_TEST_NODE_MODULES", "/absent"), "axe-core", "axe.min.js")


class Tab:
    """One page, by the Chrome DevTools Protocol: JSON with a zero byte behind, over two pipes."""

    def __init__(self, to, answers):
        self._to, self._answers, self._numbers = to, answers, count(1)
        self._heard, self._session = b"", {}
        (target,) = [
            each for each in self.do("Target.getTargets")["targetInfos"] if each["type"] == "page"
        ]
        found = self.do("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = {"sessionId": found["sessionId"]}
        self.errors = []
        for domain in ("Page", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method, **parameters):
        number = next(self._numbers)
        said = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(said).encode() + b"\0")
        while True:
            answer = self._hear()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _hear(self):
        while b"\0" not in self._heard:
            read = os.read(self._answers, 1 << 20)
            assert read, "Chromium ended"
            self._heard += read
        said, _, self._heard = self._heard.partition(b"\0")
        message = json.loads(said)
        told = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(told["exceptionDetails"].get("text"))
        elif told.get("type") == "error":  # Runtime.consoleAPICalled
            self.errors.append(" ".join(str(each.get("value")) for each in told["args"]))
        elif told.get("entry", {}).get("level") == "error":  # Log.entryAdded
            self.errors.append(told["entry"]["text"])
        return message

    def open(self, url):
        self.do("Page.navigate", url=url)
        while self._hear().get("method") != "Page.loadEventFired":
            pass

    def say(self, expression):
        """Return the plain value of an expression, awaited; the page's own policy does not bind."""
        found = self.do(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wide(self, width, height=900):
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def drawn(self, path):
        shot = self.do("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def printed(self):
        """Return the page as a PDF of A4."""
        made = self.do(
            "Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True,
            marginTop=0.4, marginBottom=0.4, marginLeft=0.4, marginRight=0.4,
        )  # fmt: skip
        return base64.b64decode(made["data"])

    def faults(self):
        """Return what axe finds that is serious or critical, with the first places of each."""
        if not AXE.is_file():
            pytest.skip("EDGETRANSFER_TEST_NODE_MODULES names no node_modules with axe-core")
        self.say(AXE.read_text(encoding="utf-8") + ";0")
        found = self.say("axe.run().then((found) => found.violations)")
        return {
            each["id"]: [node["html"][:200] for node in each["nodes"][:3]]
            for each in found
            if each["impact"] in ("serious", "critical")
        }


@contextmanager
def opened(url="about:blank"):
    """Start it; skips where there is none."""
    try:
        program = place.find()
    except UnsupportedError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        starter = [sys.executable, "-ISc", place._STARTER, str(theirs_in), str(theirs_out)]
        process = subprocess.Popen(
            [*starter, program, *place._FLAGS, "--disable-gpu", "--no-sandbox",
             f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(theirs_in, theirs_out), start_new_session=True,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            tab = Tab(ours_out, ours_in)
            if url != "about:blank":
                tab.open(url)
            yield tab
        finally:
            os.close(ours_out)
            os.close(ours_in)
            place._stop(process)
