"""Answers POST /classify with labels as JSON: python serve.py [--address A] [--port N].

The body is an encoded picture, or a text as UTF-8. The answer is

    {"labels": [{"name": "bees", "probability": 0.98}, ...], "accepted": true, "milliseconds": 3.1}

or {"error": "..."} with a status of 400 and above. It listens on this machine alone, unless told
another address; whoever reaches it may use it.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, Tuple

from edge_model import EdgeModel, KitError

PATH = "/classify"
MOST_BYTES = 32 << 20
_SILENT_S = 20


class ModelServer(ThreadingHTTPServer):
    """A model behind HTTP; one request at a time is computed."""

    daemon_threads = True

    def __init__(self, address: Tuple[str, int], model: EdgeModel) -> None:
        super().__init__(address, ModelRequest)
        self._model = model
        self._one = threading.Lock()

    def answer(self, body: bytes) -> Dict[str, Any]:
        """Return what the model says of a picture or a text; KitError where it is none."""
        given = body.decode("utf-8", "replace") if self._model.takes_texts else body
        with self._one:
            start = time.perf_counter()
            labels, accepted = self._model.classify(given)
            spent = time.perf_counter() - start
        return {
            "labels": [each._asdict() for each in labels],
            "accepted": accepted,
            "milliseconds": round(spent * 1e3, 3),
        }


class ModelRequest(BaseHTTPRequestHandler):
    """One request."""

    server: ModelServer
    server_version = "edge-model"
    sys_version = ""
    timeout = _SILENT_S

    def do_POST(self) -> None:
        """Classify what was sent."""
        length = self.headers.get("Content-Length", "")
        if self.path != PATH:
            self._send(404, {"error": f"nothing is here: send a POST to {PATH}"})
        elif not (length.isascii() and length.isdigit()):
            self._send(411, {"error": "the request has no Content-Length"})
        elif int(length) > MOST_BYTES:
            self._send(413, {"error": f"{length} bytes, at most {MOST_BYTES} are read"})
        else:
            self._classify(self.rfile.read(int(length)))

    def do_GET(self) -> None:
        """Say how it is used."""
        self._send(405, {"error": f"send a picture, or a text, in a POST to {PATH}"})

    def log_message(self, *_: object) -> None:
        """Keep silent: neither requests nor who made them are written down."""

    def _classify(self, body: bytes) -> None:
        try:
            self._send(200, self.server.answer(body))
        except KitError as error:
            self._send(400, {"error": str(error)})

    def _send(self, status: int, said: Dict[str, Any]) -> None:
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def main() -> int:
    """Serve until a signal ends it."""
    options = argparse.ArgumentParser(description="Answers POST /classify with labels as JSON.")
    options.add_argument("--address", default="127.0.0.1", help="where it listens: %(default)s")
    options.add_argument("--port", type=int, default=8008, help="0 takes a free one: %(default)s")
    given = options.parse_args()
    try:
        model = EdgeModel(Path(__file__).parent / "model")
        server = ModelServer((given.address, given.port), model)
    except (KitError, OSError, OverflowError) as error:
        print(error, file=sys.stderr)
        return 1
    with server:
        print(f"http://{server.server_address[0]}:{server.server_port}{PATH}", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
