"""The shop of the lab: takes orders by HTTP and says 201 only after they are committed. Runs on the lab's hosts.

    DATABASE=… python shop.py PORT

POST /orders  {"id": UUID, "article": NUMBER}   201, 409 when that article does not exist, 503 when it is not sure
GET /orders                                     the ids of all orders, one per line
GET /health                                     200 when the database takes writes, else 503 and why not
"""

import contextlib
import json
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

import psycopg

T = TypeVar("T")

_MOST = 10
"""Connections at once: the database has room for few."""
_PLACE = "INSERT INTO orders (id, article) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_HEALTH = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"


class Connections:
    """Idle connections to the database; a broken one takes all idle ones along."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._idle: queue.LifoQueue[psycopg.Connection] = queue.LifoQueue()
        self._places = threading.BoundedSemaphore(_MOST)

    @contextlib.contextmanager
    def one(self) -> Iterator[psycopg.Connection]:
        """A connection for one use; who comes when all are in use waits."""
        with self._places:
            yield from self._one()

    def _one(self) -> Iterator[psycopg.Connection]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = psycopg.connect(self._database, autocommit=True, connect_timeout=2)
        try:
            yield connection
        except BaseException:
            connection.close()
            with contextlib.suppress(queue.Empty):
                while True:
                    self._idle.get_nowait().close()
            raise
        self._idle.put(connection)

    def twice(self, use: Callable[[psycopg.Connection], T]) -> T:
        """Use a connection; when it turns out to be dead, once more a fresh one. So a use must be safe to repeat."""
        try:
            with self.one() as connection:
                return use(connection)
        except psycopg.OperationalError:
            with self.one() as connection:
                return use(connection)


class Handler(BaseHTTPRequestHandler):
    """One visitor."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections: Connections

    def do_GET(self) -> None:
        """Health, and the list of orders."""
        if self.path == "/health":
            self._tell(self._health)
        elif self.path == "/orders":
            self._tell(self._orders)
        else:
            self._answer(404, "nothing here\n")

    def do_POST(self) -> None:
        """An order."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/orders":
            self._answer(404, "nothing here\n")
            return
        try:
            said = json.loads(body)
            order = (str(said["id"]), int(said["article"]))
        except (ValueError, KeyError, TypeError):
            self._answer(400, "that is no order\n")
            return
        self._tell(lambda: self._place(order))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _place(self, order: tuple[str, int]) -> tuple[int, str]:
        self.connections.twice(lambda connection: connection.execute(_PLACE, order))
        return 201, f"{order[0]}\n"

    def _orders(self) -> tuple[int, str]:
        rows = self.connections.twice(lambda connection: connection.execute("SELECT id FROM orders").fetchall())
        return 200, "".join(f"{order}\n" for (order,) in rows)

    def _health(self) -> tuple[int, str]:
        row = self.connections.twice(lambda connection: connection.execute(_HEALTH).fetchone())
        return (200, "ok\n") if row and row[0] else (503, "the database takes no writes\n")

    def _tell(self, what: Callable[[], tuple[int, str]]) -> None:
        try:
            status, text = what()
        except psycopg.errors.ForeignKeyViolation:
            status, text = 409, "no such article\n"
        except psycopg.Error as error:
            status, text = 503, f"{str(error).strip().splitlines()[0]}\n"
        self._answer(status, text)

    def _answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """Takes visitors, each in a thread of its own."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor who leaves while he is answered is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it was given


def main() -> None:
    """Serve until ended."""
    Handler.connections = Connections(os.environ["DATABASE"])
    with Server(("0.0.0.0", int(sys.argv[1])), Handler) as server:  # noqa: S104 - the lab's network is its own
        if "NOTIFY_SOCKET" in os.environ:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
                notify.send(b"READY=1")
        server.serve_forever()


if __name__ == "__main__":
    main()
