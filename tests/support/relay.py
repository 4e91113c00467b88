"""A repository's folder behind restic's REST protocol, where each write of a running restic waits until it is let go.

So a real restic can be held between any two of its steps (a pack is written; the new index is written, the old one not
removed yet; …) while something else looks at the folder. The protocol is restic's, from its documentation *REST
Backend*, as far as restic uses it on a repository that exists.
"""

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Self

PATIENCE = 60.0
"""Seconds after which a restic that does nothing is a failure of the test."""


class Dropped(Exception):
    """The restic that asked is dead."""


@dataclass
class Actor:
    """A running restic; it is held before each of its writes until `advance` or `finish`."""

    process: subprocess.Popen[bytes]
    folder: Path
    locks: set[str] = field(default_factory=set)
    """Paths of the locks that it made; dropped when it is killed, as ``restic unlock`` would."""
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _permits: float = 0
    _done: int = 0
    _dead: bool = False

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def advance(self, writes: int) -> None:
        """Let so many of its writes happen; ends when they have, or when it has ended without so many."""
        with self._changed:
            goal = self._done + writes
            self._permits += writes
            self._changed.notify_all()
            limit = monotonic() + PATIENCE
            while self._done < goal and self.running:
                assert monotonic() < limit, f"restic hangs: {self.process.args!r}"
                self._changed.wait(0.005)

    def finish(self) -> int:
        """Let it go on to its end; gives its exit code."""
        with self._changed:
            self._permits = float("inf")
            self._changed.notify_all()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it where it is: what it waits to write is never written."""
        self.process.kill()
        self.process.wait(PATIENCE)
        with self._changed:
            self._dead = True
            self._changed.notify_all()
            for name in self.locks:
                (self.folder / name).unlink(missing_ok=True)

    def enter(self) -> None:
        """Wait until one write may happen."""
        with self._changed:
            while not self._dead and self._permits < 1:
                self._changed.wait(PATIENCE)
            if self._dead:
                raise Dropped
            self._permits -= 1

    def leave(self) -> None:
        """It has happened."""
        with self._changed:
            self._done += 1
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A restic that is killed leaves its connections as they are; any other fault makes a restic fail."""


class Relay:
    """Serves one repository to restics that it starts; a context that ends them all."""

    def __init__(self, folder: Path, restic: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self._restic = restic
        self._env = env
        self.actors: list[Actor] = []
        self._starting = threading.Lock()
        relay = self

        class Handler(_Handler):
            served = relay

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self.actors:
            actor.kill()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def start(self, *words: str) -> Actor:
        """A restic with these words, held before its first write."""
        with self._starting:
            url = f"rest:http://127.0.0.1:{self._server.server_address[1]}/{len(self.actors)}/"
            process = subprocess.Popen(
                [self._restic, "-r", url, "--no-cache", "--quiet", *words],
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            actor = Actor(process, self.folder)
            self.actors.append(actor)
        return actor

    def actor(self, number: int) -> Actor:
        """The restic whose addresses begin with that number."""
        with self._starting:
            return self.actors[number]


class _Handler(BaseHTTPRequestHandler):
    served: Relay
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in one piece

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing."""

    def do_GET(self) -> None:
        _, path = self._asked()
        if path.is_dir() or self.path.endswith("/"):
            found = self._names(path)
            kind = "application/vnd.x.restic.rest.v2"
            self._answer(200, json.dumps([{"name": n, "size": s} for n, s in found]).encode(), kind)
            return
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self._answer(404)
            return
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if not wanted:
            self._answer(200, content)
            return
        first, _, last = wanted.partition("-")
        self._answer(206, content[int(first) : int(last) + 1 if last else None])

    def do_HEAD(self) -> None:
        _, path = self._asked()
        self._answer(200 if path.is_file() else 404, size=path.stat().st_size if path.is_file() else 0)

    def do_POST(self) -> None:
        actor, path = self._asked()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if path.parent.name == "locks":
            actor.locks.add(str(path))
            self._write(path, content)
        elif hashlib.sha256(content).hexdigest() != path.name:
            self._answer(400)
            return
        else:
            try:
                actor.enter()
            except Dropped:
                self.close_connection = True
                return
            try:
                self._write(path, content)
            finally:
                actor.leave()
        self._answer(200)

    def do_DELETE(self) -> None:
        actor, path = self._asked()
        if path.parent.name == "locks":
            path.unlink(missing_ok=True)
        else:
            try:
                actor.enter()
            except Dropped:
                self.close_connection = True
                return
            try:
                path.unlink(missing_ok=True)
            finally:
                actor.leave()
        self._answer(200)

    def _asked(self) -> tuple[Actor, Path]:
        """Who asks, and for what."""
        number, *words = self.path.partition("?")[0].strip("/").split("/")
        if len(words) == 2 and words[0] == "data":
            words.insert(1, words[1][:2])
        return self.served.actor(int(number)), self.served.folder.joinpath(*words)

    @staticmethod
    def _names(folder: Path) -> list[tuple[str, int]]:
        found = []
        for path in folder.rglob("*"):
            try:
                if path.is_file() and len(path.name) == 64:
                    found.append((path.name, path.stat().st_size))
            except FileNotFoundError:
                continue
        return found

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        """Whole or not at all, under a temporary name first, as restic writes to a folder itself."""
        path.parent.mkdir(exist_ok=True)
        beside = path.with_name(f"{path.name}-tmp-{os.urandom(4).hex()}")
        beside.write_bytes(content)
        beside.replace(path)

    def _answer(self, status: int, content: bytes = b"", kind: str = "application/octet-stream", size: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size or len(content)))
        self.end_headers()
        self.wfile.write(content)
