"""Serves the page, the runtime and the files of one job to one browser, over HTTP.

It does not decide what is to be done: an `Exchange` holds that.
"""

from __future__ import annotations

import secrets
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import StageError
from edgetransfer.transport.browser_requests import Handler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgetransfer.transport.browser_exchange import Exchange

PAGE = Path(__file__).parent / "browser_page"
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

    Raises:
        StageError: this machine has no such address, or something else listens there.
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
