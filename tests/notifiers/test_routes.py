"""Routes, against a real server on the loopback."""

import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import TypeAdapter, ValidationError

from drorch.core.errors import DrorchError
from drorch.core.model import Json, SecretRef
from drorch.core.refs import references
from drorch.core.route import Route
from drorch.core.secret import Secret
from drorch.notifiers import KINDS, AnyRoute

CANARY = "canary-4711-token"


@dataclass
class Held:
    """Secrets that a test made up."""

    values: dict[str, str]

    def get(self, ref: SecretRef) -> Secret:
        """The value of that name."""
        return Secret(ref.secret, self.values[ref.secret])

    def redact(self, text: str) -> str:
        """Nothing is hidden: what leaks shall be seen."""
        return text

    def redact_json(self, value: Json) -> Json:
        """The same."""
        return value


@dataclass
class Server:
    """A web server that remembers what was posted and answers as told."""

    port: int
    status: int = 200
    location: str = ""
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.posts.append((self.path, dict(self.headers), body))
            self.send_response(made.status)
            if made.location:
                self.send_header("Location", made.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        made = Server(listening.server_address[1])
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        listening.shutdown()
        thread.join()


def route(**spec: object) -> Route:
    """A route as a user writes it."""
    made: Route = TypeAdapter(AnyRoute).validate_python(spec)
    return made


def ways(server: Server) -> dict[str, tuple[Route, Held]]:
    """One route of each kind to that server, each with a canary in its URL."""
    return {
        "apprise": (
            route(kind="apprise", url={"secret": "chat"}),
            Held({"chat": f"json://127.0.0.1:{server.port}/{CANARY}"}),
        ),
        "webhook": (
            route(kind="webhook", url={"secret": "hook"}, token={"secret": "token"}),
            Held({"hook": f"http://127.0.0.1:{server.port}/{CANARY}?a=b", "token": CANARY}),
        ),
    }


def said(error: BaseException) -> str:
    """Everything that an error shows of itself, its causes included."""
    return repr(error) + str(error) + "".join(traceback.format_exception(error)) + repr(vars(error))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_message_arrives(kind: str, server: Server) -> None:
    """Title and body arrive whole, with quotes, markup, newlines and letters of any script."""
    way, secrets = ways(server)[kind]
    title, body = 'shop: "nightly" failed', "Größe 0 <b>&amp;\nsecond line 🔥"
    way.send(title, body, secrets)
    ((path, headers, content),) = server.posts
    assert path.startswith(f"/{CANARY}")
    assert headers["Content-Type"].startswith("application/json")
    got = json.loads(content)
    assert (got["title"], got.get("body", got.get("message"))) == (title, body)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
def test_any_other_answer_is_not_delivered(
    kind: str, status: int, server: Server, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Only a 2xx answer is a delivery; the error, its causes, logs and output hold nothing of the URL or token."""
    server.status = status
    way, secrets = ways(server)[kind]
    with caplog.at_level(logging.DEBUG), pytest.raises(DrorchError) as raised:
        way.send("title", "body", secrets)
    captured = capfd.readouterr()
    assert CANARY not in said(raised.value) + captured.out + captured.err + caplog.text
    assert kind == "apprise" or raised.value.retryable == (status >= 500)
    assert str(status) in raised.value.message or kind == "apprise"
    assert len(server.posts) >= 1


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nobody_there_is_worth_a_retry(kind: str) -> None:
    """A refused connection is an error that a retry can mend, and says nothing secret."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        way, secrets = ways(Server(bound.getsockname()[1]))[kind]
        with pytest.raises(DrorchError) as raised:
            way.send("title", "body", secrets)
    assert raised.value.retryable
    assert CANARY not in said(raised.value)


@pytest.mark.parametrize("url", [f"nosuchthing://{CANARY}", f"{CANARY}", "http://[", f"https://host/{CANARY}\n"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_secret_that_is_no_url_is_said_by_name(
    kind: str, url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A URL that cannot be understood is an error that names the secret and shows nothing of it."""
    if kind == "apprise" and url.startswith("http"):
        url = "://" + url
    with pytest.raises(DrorchError, match="chat") as raised:
        route(kind=kind, url={"secret": "chat"}).send("title", "body", Held({"chat": url}))
    captured = capfd.readouterr()
    assert CANARY not in said(raised.value) + captured.out + captured.err + caplog.text
    assert not raised.value.retryable


def test_the_token_travels_as_a_bearer(server: Server) -> None:
    """A token is sent in the header, a user and password of a secret URL as basic authorization."""
    webhook, secrets = ways(server)["webhook"]
    webhook.send("title", "body", secrets)
    route(kind="webhook", url={"secret": "hook"}).send(
        "title", "body", Held({"hook": f"http://me:p%40ss@127.0.0.1:{server.port}"})
    )
    assert [headers["Authorization"] for _, headers, _ in server.posts] == [f"Bearer {CANARY}", "Basic bWU6cEBzcw=="]
    assert [path for path, _, _ in server.posts] == [f"/{CANARY}?a=b", "/"]


def test_a_token_cannot_smuggle_headers(server: Server) -> None:
    """A token with a line break is refused before anything is sent, without being shown."""
    webhook, secrets = ways(server)["webhook"]
    secrets.values["token"] = f"{CANARY}\r\nX-Other: 1"
    with pytest.raises(DrorchError, match="secret token") as raised:
        webhook.send("title", "body", secrets)
    assert CANARY not in said(raised.value)
    assert server.posts == []


def test_a_redirect_leads_nowhere(server: Server) -> None:
    """The message and its token go to the one server that was named."""
    server.status, server.location = 307, f"http://127.0.0.1:{server.port}/elsewhere"
    webhook, secrets = ways(server)["webhook"]
    with pytest.raises(DrorchError, match="a redirect"):
        webhook.send("title", "body", secrets)
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hooks.example.com/",
        "hooks.example.com",
        "https://",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://me:password@hooks.example.com/",
        "https://hooks.example.com/a b",
    ],
)
def test_a_wrong_plain_url_is_refused_in_the_document(url: str) -> None:
    """What cannot be posted to, or holds a password, is no webhook."""
    with pytest.raises(ValidationError):
        route(kind="webhook", url=url)


def test_plain_http_to_another_machine_must_be_meant() -> None:
    """Over http to another machine nothing is sent unless the inventory says so."""
    with pytest.raises(DrorchError, match="must be https"):
        route(kind="webhook", url={"secret": "hook"}).send("t", "b", Held({"hook": "http://192.0.2.1/"}))


def test_secrets_are_named_where_the_loader_looks() -> None:
    """A webhook's secrets are references that are checked against the inventory."""
    webhook = route(kind="webhook", url={"secret": "hook"}, token={"secret": "token"})
    assert {name for _, _, name in references(webhook)} == {"hook", "token"}


@contextmanager
def odd_server(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A server that takes one connection and does with it what a test wants."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection, over)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join()


def says_nothing(_: socket.socket, over: threading.Event) -> None:
    """Take the connection and stay silent."""
    over.wait(20)


def trickles(connection: socket.socket, over: threading.Event) -> None:
    """Answer one letter at a time, for ever."""
    connection.sendall(b"HTTP/1.1 ")
    try:
        while not over.wait(0.05):
            connection.sendall(b"2")
    except OSError:
        pass


@pytest.mark.parametrize("answer", [says_nothing, trickles])
def test_a_server_that_does_not_end_is_left(answer: Callable[[socket.socket, threading.Event], None]) -> None:
    """The timeout is for the whole of it, however slowly the server keeps talking."""
    with odd_server(answer) as port:
        begin = time.monotonic()
        with pytest.raises(DrorchError, match=r"not within 0\.5 s") as raised:
            route(kind="webhook", url=f"http://127.0.0.1:{port}/", timeout="500ms").send("t", "b", Held({}))
        assert time.monotonic() - begin < 5
    assert raised.value.retryable


def test_an_answer_that_is_no_http_is_no_delivery() -> None:
    """A server that speaks something else has not taken the message."""
    with (
        odd_server(lambda connection, _: connection.sendall(b"220 mail.example.com ESMTP\r\n")) as port,
        pytest.raises(DrorchError, match="gave no answer"),
    ):
        route(kind="webhook", url=f"http://127.0.0.1:{port}/").send("t", "b", Held({}))


def test_the_certificate_is_checked(server: Server) -> None:
    """A server that speaks no TLS, or not with a known certificate, gets nothing."""
    with pytest.raises(DrorchError, match="gave no answer"):
        route(kind="webhook", url=f"https://127.0.0.1:{server.port}/").send("t", "b", Held({}))
    assert server.posts == []
