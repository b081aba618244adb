"""Serves this folder at http://localhost:8000, with the two headers that let the model use threads.

Usage: python serve.py [PORT]. To try the kit; a server of yours sends the same headers.
"""

from __future__ import annotations

import functools
import http.server
import sys
from pathlib import Path


class IsolatedFiles(http.server.SimpleHTTPRequestHandler):
    """A file, as a page that is isolated from others."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        **dict.fromkeys((".js", ".mjs"), "text/javascript"),
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """Add what makes a page isolated."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


def main() -> None:
    """Serve until stopped."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    handler = functools.partial(IsolatedFiles, directory=str(Path(__file__).parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://localhost:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
