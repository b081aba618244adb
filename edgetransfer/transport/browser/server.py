"""Serves the page, the runtime and the files of one job to the browser that knows the token."""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from edgetransfer.errors import IntegrityError, StageError
from edgetransfer.spec.outside import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgetransfer.transport.browser.exchange import Errand, Exchange


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


class _RefusedError(Exception):
    """Ends an answer, with its status."""

    def __init__(self, status: int) -> None:
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    timeout = 60
    server_version = "edgetransfer"
    sys_version = ""

    def do_GET(self) -> None:
        """Serve the page, its files, the next errand, a model or an example."""
        self._answer_unless_refused(self._get)

    def do_POST(self) -> None:
        """Take a message or an array."""
        self._answer_unless_refused(self._post)

    def _answer_unless_refused(self, answer: Callable[[str], None]) -> None:
        try:
            answer(self._allowed())
        except _RefusedError as refused:
            self._answer(b"", "text/plain", status=refused.status)
        except IndexError:  # no such model, example or input
            self._answer(b"", "text/plain", status=404)

    def _get(self, path: str) -> None:
        if path in self.server.files:
            file = self.server.files[path]
            self._answer(file.read_bytes(), TYPES[file.suffix or ".html"])
        elif path == "next":
            self._admit()
            told = self.server.exchange.take(self.headers["X-Visitor"], _POLL_S)
            self._answer(json.dumps(told).encode(), "application/json")
        elif found := re.fullmatch(r"(\w+)/model/(\d+)", path):
            model = self._errand(found[1]).models[int(found[2])]
            self._answer(model if isinstance(model, bytes) else model.read_bytes())
        elif found := re.fullmatch(r"(\w+)/example/(\d+)/(\d+)/(\d+)", path):
            example = self._errand(found[1]).examples[int(found[2])][int(found[3])]
            array = list(example.values())[int(found[4])]
            shape = {"X-Type": array.dtype.name, "X-Shape": json.dumps(array.shape)}
            self._answer(array.tobytes(), more=shape)
        else:
            raise _RefusedError(404)

    def _post(self, path: str) -> None:
        if found := re.fullmatch(r"(\w+)/say", path):
            self._say(found[1])
        elif found := re.fullmatch(r"(\w+)/array/([\w.-]+)", path):
            self._array(found[1], found[2])
        else:
            raise _RefusedError(404)
        self._answer(b"", "text/plain")

    def _allowed(self) -> str:
        """Return the path below the token; without the token or under a foreign name, refuse.

        The name that was asked for is checked because another site could have its own name point
        here, and then read the answers (DNS rebinding).
        """
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        if host not in self.server.hosts or origin not in (None, f"http://{host}"):
            raise _RefusedError(403)
        first, _, rest = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not secrets.compare_digest(first.encode(), self.server.token.encode()):
            raise _RefusedError(404)
        self.server.know(self.connection)
        return rest

    def _admit(self) -> None:
        if not self.server.exchange.admits(self.headers.get("X-Visitor", "")):
            raise _RefusedError(409)

    def _errand(self, number: str) -> Errand:
        """Return what the page works on; refuse where it works on something that is over."""
        self._admit()
        errand = self.server.exchange.current(number)
        if errand is None:
            raise _RefusedError(410)
        return errand

    def _say(self, number: str) -> None:
        self._admit()
        body = self._body(_MOST_SAID)
        try:
            message = parsed(body, "page")
        except IntegrityError:
            message = None
        if not isinstance(message, dict) or message.get("event") == "array":  # they come as bytes
            raise _RefusedError(400)
        self.server.exchange.hear(number, message)

    def _array(self, number: str, name: str) -> None:
        errand = self._errand(number)
        if name not in errand.arrays:
            raise _RefusedError(404)
        body = self._body(errand.arrays[name])
        query = parse_qs(urlsplit(self.path).query)
        try:
            shape = [int(each) for each in query["shape"][0].split(",")]
            array = np.frombuffer(body, _ARRAYS[query["type"][0]]).reshape(shape)
        except (KeyError, ValueError) as error:
            raise _RefusedError(400) from error
        self.server.exchange.hear(number, {"event": "array", "name": name, "array": array})

    def _body(self, most: int) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > most:
            raise _RefusedError(413)
        return self.rfile.read(int(length))

    def _answer(
        self,
        body: bytes,
        kind: str = "application/octet-stream",
        *,
        more: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> None:
        self.send_response(status)
        headers = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in {**headers, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal shows the measurement."""


PAGE = Path(__file__).parent / "page"
_TOKEN_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_TOKEN_LENGTH = 12
_LINGER_S = 2.0
_MOST_OPEN = 32
"""Connections at a time; a page has six at most."""
_STRANGER_S = 5.0
"""For a request line with the token and its headers."""
_FAREWELL_S = 5.0


def token() -> str:
    """Return 59 random bits that can be typed on a phone."""
    return "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(_TOKEN_LENGTH))


class Server(ThreadingHTTPServer):
    """The server of one connection; its address holds the token."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128
    """Who finds the queue full tries again in a second or more."""

    def __init__(
        self, address: tuple[str, int], exchange: Exchange, runtime: Mapping[str, Path]
    ) -> None:
        self.exchange = exchange
        self.token = token()
        self.files = {file.name: file for file in PAGE.iterdir() if file.suffix in (".js", ".css")}
        self.files |= {"": PAGE / "index.html"}
        self.files |= {f"ort/{name}": file for name, file in runtime.items()}
        self._open: set[Any] = set()
        self._strangers: dict[Any, float] = {}
        super().__init__(address, Handler)
        host, self.port = str(self.server_address[0]), int(self.server_address[1])
        self.hosts = {f"{host}:{self.port}"}
        if host == "127.0.0.1":
            self.hosts.add(f"localhost:{self.port}")
        self.url = f"http://{host}:{self.port}/{self.token}/"

    def url_at(self, port: int) -> str:
        """Return the address on a device whose own port leads here, and answer to it."""
        self.hosts.add(f"127.0.0.1:{port}")
        return f"http://127.0.0.1:{port}/{self.token}/"

    def get_request(self) -> tuple[Any, Any]:
        """Remember the connection, so that it can be cut."""
        request, address = super().get_request()
        self._open.add(request)
        self._strangers[request] = time.monotonic()
        return request, address

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer in a thread, of which there are so many and no more: strangers make room."""
        if len(self._open) > _MOST_OPEN:
            oldest = min(self._strangers, key=lambda each: self._strangers[each], default=request)
            self._hang_up(oldest)
        if request in self._strangers:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def service_actions(self) -> None:
        """Hang up on who has not shown the token in time: called several times a second."""
        too_old = time.monotonic() - _STRANGER_S
        for request, since in list(self._strangers.items()):
            if since < too_old:
                self._hang_up(request)

    def know(self, request: object) -> None:
        """Note that who is at the other end knows the token."""
        self._strangers.pop(request, None)

    def _hang_up(self, request: Any) -> None:  # noqa: ANN401 (as in the base class)
        self._strangers.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 (as in the base class)
        """Forget the connection."""
        self._open.discard(request)
        self._strangers.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass on what went wrong here; a browser that hangs up is no event."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self.exchange.messages.put({"event": "error", "text": f"the server failed: {error!r}"})

    def cut(self) -> None:
        """End every connection: what waits on one would keep its thread.

        What is just being answered, as the page that is told of the end, gets a moment.
        """
        until = time.monotonic() + _LINGER_S
        while self._open and time.monotonic() < until:
            time.sleep(0.02)
        for request in list(self._open):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(
    exchange: Exchange, runtime: Mapping[str, Path], address: tuple[str, int] = ("127.0.0.1", 0)
) -> Iterator[Server]:
    """Serve until the block ends; no thread is left then.

    StageError where this machine has no such address, or something else listens there.
    """
    try:
        made = Server(address, exchange, runtime)
    except OSError as error:
        raise StageError(
            "cannot listen on this address",
            where=f"--on browser:listen:{address[0]}:{address[1]}",
            found=error.strerror or str(error),
            expected="an address of this machine and a port that is free, or no port",
        ) from error
    with made as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        try:
            yield server
        finally:
            exchange.close(_FAREWELL_S)
            server.shutdown()
            thread.join()
            server.cut()
