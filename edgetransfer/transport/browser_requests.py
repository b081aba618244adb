"""Answers one request of a page: what may be asked for, by whom, and how it comes back.

It serves nothing by a path of the file system, and nothing to who does not know the token.
"""

from __future__ import annotations

import json
import re
import secrets
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import numpy as np

from edgetransfer.errors import IntegrityError
from edgetransfer.spec.outside import parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.transport.browser_exchange import Errand
    from edgetransfer.transport.browser_server import Server

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
HEADERS = {
    # These three make a page on a secure origin "cross-origin isolated": threads and a finer clock.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
        "style-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLL_S = 10.0
_MOST_SAID = 2**20
_ARRAYS = {"float32": np.float32, "float16": np.float16, "float64": np.float64}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    timeout = 60
    server_version = "edgetransfer"
    sys_version = ""

    def do_GET(self) -> None:
        """Serve the page, its files, the next errand, a model or an example."""
        path = self._allowed()
        if path is None:
            return
        if path in self.server.files:
            file = self.server.files[path]
            self._answer(200, file.read_bytes(), TYPES[file.suffix or ".html"])
        elif path == "next":
            self._next()
        elif found := re.fullmatch(r"(\w+)/model/(\d+)", path):
            errand = self._errand(found[1])
            if errand is not None and int(found[2]) < len(errand.models):
                model = errand.models[int(found[2])]
                body = model if isinstance(model, bytes) else model.read_bytes()
                self._answer(200, body, "application/octet-stream")
            elif errand is not None:
                self._refuse(404)
        elif found := re.fullmatch(r"(\w+)/example/(\d+)/(\d+)/(\d+)", path):
            self._example(self._errand(found[1]), *(int(each) for each in found.groups()[1:]))
        else:
            self._refuse(404)

    def do_POST(self) -> None:
        """Take a message or an array."""
        path = self._allowed()
        if path is None:
            return
        if found := re.fullmatch(r"(\w+)/say", path):
            self._say(found[1])
        elif found := re.fullmatch(r"(\w+)/array/([\w.-]+)", path):
            self._array(found[1], found[2])
        else:
            self._refuse(404)

    def _allowed(self) -> str | None:
        """Return the path below the token; without the token or under a foreign name, refuse.

        The name that was asked for is checked because another site could have its own name point
        here, and then read the answers (DNS rebinding).
        """
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        if host not in self.server.hosts or origin not in (None, f"http://{host}"):
            self._refuse(403)
            return None
        first, _, rest = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not secrets.compare_digest(first.encode(), self.server.token.encode()):
            self._refuse(404)
            return None
        self.server.know(self.connection)
        return rest

    def _admitted(self) -> bool:
        if self.server.exchange.admits(self.headers.get("X-Visitor", "")):
            return True
        self._refuse(409)
        return False

    def _next(self) -> None:
        if self._admitted():
            told = self.server.exchange.take(self.headers["X-Visitor"], _POLL_S)
            self._answer(200, json.dumps(told).encode(), "application/json")

    def _errand(self, number: str) -> Errand | None:
        """Return what the page works on; answer where it works on something that is over."""
        if not self._admitted():
            return None
        errand = self.server.exchange.current(number)
        if errand is None:
            self._refuse(410)
        return errand

    def _example(self, errand: Errand | None, model: int, index: int, position: int) -> None:
        if errand is None:
            return
        if model >= len(errand.examples) or index >= len(errand.examples[model]):
            self._refuse(404)
            return
        arrays = list(errand.examples[model][index].values())
        if position >= len(arrays):
            self._refuse(404)
            return
        array = arrays[position]
        shape = {"X-Type": array.dtype.name, "X-Shape": json.dumps(array.shape)}
        self._answer(200, array.tobytes(), "application/octet-stream", shape)

    def _say(self, number: str) -> None:
        body = self._body(_MOST_SAID) if self._admitted() else None
        if body is None:
            return
        try:
            message = parsed(body, "page")
        except IntegrityError:
            message = None
        if not isinstance(message, dict) or message.get("event") == "array":  # they come as bytes
            self._refuse(400)
            return
        self.server.exchange.hear(number, message)
        self._answer(200, b"", "text/plain")

    def _array(self, number: str, name: str) -> None:
        errand = self._errand(number)
        if errand is None:
            return
        if name not in errand.arrays:
            self._refuse(404)
            return
        body = self._body(errand.arrays[name])
        if body is None:
            return
        query = parse_qs(urlsplit(self.path).query)
        try:
            shape = [int(each) for each in query["shape"][0].split(",")]
            array = np.frombuffer(body, _ARRAYS[query["type"][0]]).reshape(shape)
        except (KeyError, ValueError):
            self._refuse(400)
            return
        self.server.exchange.hear(number, {"event": "array", "name": name, "array": array})
        self._answer(200, b"", "text/plain")

    def _body(self, most: int) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > most:
            self._refuse(413)
            return None
        return self.rfile.read(int(length))

    def _answer(
        self, status: int, body: bytes, kind: str, more: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        headers = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in {**headers, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int) -> None:
        self._answer(status, b"", "text/plain")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal shows the measurement."""
