"""A small web server on loopback, started once per session, that keeps the headers it was sent."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Web:
    """Answers ``/health`` with ``ok``, ``/big`` with 3 MiB, ``/garbage`` with no HTTP, anything else with 404."""

    port: int = 0
    seen: list[dict[str, str]] = field(default_factory=list)

    def url(self, path: str) -> str:
        """An address of it."""
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    """The server."""
    site = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.seen.append(dict(self.headers))
            if self.path == "/garbage":
                self.wfile.write(b"\x1b[31mSSH-2.0-nothing like it\r\n\r\n")
                return
            found = self.path in {"/health", "/big"}
            body = b"x" * (3 << 20) if self.path == "/big" else b"status: ok\n" if found else b"no such page"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()
