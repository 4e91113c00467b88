"""A small shop to lose and to restore: an SQLite database and a folder of pictures. Standard library only.

    shop.py make FOLDER      a new shop: FOLDER/shop.db and FOLDER/media
    shop.py change FOLDER    a day's business: orders, a new article, a changed picture, a removed one
    shop.py serve --database FILE --media FOLDER --port PORT

GET /health answers ``ok, N orders, M pictures`` only when the database is sound and every article's picture is there
with the bytes that it was entered with; else 503 and what is wrong.
"""

# ruff: noqa: INP001 - a program of its own, no part of a package

import argparse
import hashlib
import http.server
import os
import random
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE);
CREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT NOT NULL, cents INTEGER NOT NULL CHECK (cents > 0),
                       picture BLOB NOT NULL UNIQUE, sha256 TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers, placed TEXT NOT NULL);
CREATE TABLE lines (order_id INTEGER NOT NULL REFERENCES orders, article INTEGER NOT NULL REFERENCES articles,
                    pieces INTEGER NOT NULL CHECK (pieces > 0), PRIMARY KEY (order_id, article));
"""

_ODD_NAMES = (
    b"-rf.jpg",
    b"two\nlines.jpg",
    b"tab\tand  spaces .jpg",
    b"not utf-8 \xff\xfe.jpg",
    b"escape \x1b[31mred.jpg",
    b"'quoted' \"twice\" `and` $(so on).jpg",
    b"back\\slash*?[a-z].jpg",
    "größe-寸法-🛍️.jpg".encode(),
    b"%2e%2e%2f{{ hole }}.jpg",
    b"long-" + b"x" * 240 + b".jpg",
)
"""Names that file systems allow and programs stumble over."""

_CUSTOMERS, _ARTICLES, _ORDERS, _ORDERS_A_DAY = 150, 400, 1200, 60
_WORDS = ("blue", "small", "oak", "linen", "round", "lamp", "chair", "bowl", "clock", "shelf")


def make(folder: Path) -> None:
    """A new shop in an existing folder that holds none."""
    chance = random.Random(1)  # noqa: S311 - the same shop each time
    media = folder / "media"
    media.mkdir()
    with closing(sqlite3.connect(folder / "shop.db", isolation_level=None)) as database:
        database.executescript(_SCHEMA)
        database.execute("BEGIN")
        for number in range(1, _CUSTOMERS + 1):
            database.execute(
                "INSERT INTO customers VALUES (?, ?, ?)",
                (number, f"Customer {number}", f"customer{number}@example.com"),
            )
        for number in range(_ARTICLES):
            name = _ODD_NAMES[number] if number < len(_ODD_NAMES) else f"{number % 16:x}/{number:04}.jpg".encode()
            _add_article(database, media, name, chance)
        _add_orders(database, _ORDERS, chance)
        database.execute("COMMIT")
    (media / "empty").touch()
    (media / "front.jpg").symlink_to("0/0016.jpg")


def change(folder: Path) -> None:
    """A day's business."""
    chance = random.Random()  # noqa: S311 - goods, no secrets
    media = folder / "media"
    with closing(sqlite3.connect(folder / "shop.db", isolation_level=None)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("BEGIN")
        _add_orders(database, _ORDERS_A_DAY, chance)
        _add_article(database, media, f"new/{chance.getrandbits(64):016x}.jpg".encode(), chance)
        ((newest, name),) = database.execute("SELECT id, picture FROM articles ORDER BY id DESC LIMIT 1 OFFSET 1")
        picture = _write_picture(media, name, chance)
        database.execute("UPDATE articles SET sha256 = ? WHERE id = ?", (picture, newest))
        database.execute("COMMIT")
    (media / "empty").unlink(missing_ok=True)


def count(folder: Path) -> str:
    """What there is, in words."""
    with closing(sqlite3.connect(folder / "shop.db")) as database:
        ((orders,),) = database.execute("SELECT count(*) FROM orders")
    files = [path for path in (folder / "media").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    return f"{orders} orders in shop.db, {len(files)} files ({size:.1f} MB) in media"


def health(database: Path, media: Path) -> tuple[int, str]:
    """Whether the shop could do business: an HTTP status and a line of text."""
    try:
        # Only a file that is there: plain connecting would make an empty database.
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True)) as shop:
            ((verdict,),) = shop.execute("PRAGMA integrity_check(1)")
            broken = shop.execute("PRAGMA foreign_key_check").fetchall()
            ((orders,),) = shop.execute("SELECT count(*) FROM orders")
            articles = shop.execute("SELECT picture, sha256 FROM articles").fetchall()
    except sqlite3.Error as error:
        return 503, f"database: {error}"
    if verdict != "ok" or broken or not orders:
        return 503, f"database: {verdict}, {len(broken)} broken references, {orders} orders"
    wrong = [name for name, digest in articles if _digest(media, name) != digest]
    if wrong:
        return 503, f"media: {len(wrong)} pictures missing or altered, such as {wrong[0]!r}"
    return 200, f"ok, {orders} orders, {len(articles)} pictures"


def serve(database: Path, media: Path, port: int) -> None:
    """Answer on a loopback port until the process is ended."""

    class Handler(http.server.BaseHTTPRequestHandler):
        """One page."""

        def do_GET(self) -> None:
            """The shop's health."""
            status, text = health(database, media) if self.path == "/health" else (404, "there is only /health")
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def _add_article(database: sqlite3.Connection, media: Path, name: bytes, chance: random.Random) -> None:
    digest = _write_picture(media, name, chance)
    title = " ".join(chance.sample(_WORDS, 3))
    database.execute(
        "INSERT INTO articles (title, cents, picture, sha256) VALUES (?, ?, ?, ?)",
        (title, chance.randint(99, 99999), name, digest),
    )


def _add_orders(database: sqlite3.Connection, how_many: int, chance: random.Random) -> None:
    ((articles,),) = database.execute("SELECT max(id) FROM articles")
    now = datetime.now(UTC)
    for number in range(how_many):
        placed = (now - timedelta(minutes=how_many - number)).isoformat(timespec="seconds")
        order = database.execute(
            "INSERT INTO orders (customer, placed) VALUES (?, ?)", (chance.randint(1, _CUSTOMERS), placed)
        ).lastrowid
        for article in chance.sample(range(1, articles + 1), chance.randint(1, 4)):
            database.execute("INSERT INTO lines VALUES (?, ?, ?)", (order, article, chance.randint(1, 3)))


def _write_picture(media: Path, name: bytes, chance: random.Random) -> str:
    picture = b"\xff\xd8\xff\xe0" + chance.randbytes(chance.randint(2_000, 40_000))
    path = media / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(picture)
    return hashlib.sha256(picture).hexdigest()


def _digest(media: Path, name: bytes) -> str:
    try:
        return hashlib.sha256((media / os.fsdecode(name)).read_bytes()).hexdigest()
    except OSError:
        return ""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A small shop.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("make", "change"):
        verbs.add_parser(verb).add_argument("folder", type=Path)
    serving = verbs.add_parser("serve")
    serving.add_argument("--database", type=Path, required=True)
    serving.add_argument("--media", type=Path, required=True)
    serving.add_argument("--port", type=int, required=True)
    said = parser.parse_args()
    if said.verb == "serve":
        serve(said.database, said.media, said.port)
        return
    {"make": make, "change": change}[said.verb](said.folder)
    sys.stdout.write(f"{count(said.folder)}\n")


if __name__ == "__main__":
    main()
