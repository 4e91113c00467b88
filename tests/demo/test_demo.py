"""The demo, and the shop that it is about."""

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import eventually, running_with

REPOSITORY = Path(__file__).parents[2]
SHOP = REPOSITORY / "config" / "demo" / "shop.py"
DEMO = REPOSITORY / "config" / "demo" / "demo.py"


def shop(verb: str, folder: Path) -> str:
    """Run the shop's program; gives what it said."""
    return subprocess.run([sys.executable, SHOP, verb, folder], check=True, capture_output=True, text=True).stdout


@contextmanager
def serving(database: Path, media: Path) -> Iterator[str]:
    """A running shop's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["serve", f"--database={database}", f"--media={media}", f"--port={port}"]
    with subprocess.Popen([sys.executable, SHOP, *words], stderr=subprocess.DEVNULL) as process:
        try:
            assert eventually(lambda: answer(f"http://127.0.0.1:{port}/") is not None)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def answer(url: str) -> tuple[int, str] | None:
    """Status and body; None while nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - a loopback address
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None


@pytest.mark.timeout(300)
def test_demo_proves_the_shop(tmp_path: Path) -> None:
    """The demo runs from nothing to a drill that served, and leaves nothing of it on the standby or running."""
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, DEMO, "--into", folder], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left on the standby, restic's cache aside: nothing\n" in done.stdout
    assert "serving" in done.stdout
    assert not running_with(str(folder))


def test_demo_spares_what_it_did_not_make(tmp_path: Path) -> None:
    """A folder without the demo's mark is refused and left as it was."""
    (tmp_path / "letter").write_text("dear")
    done = subprocess.run([sys.executable, DEMO, "--into", tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no demo made" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_shop_does_business(tmp_path: Path) -> None:
    """A shop, also after a day's business, answers ``ok`` with its orders."""
    assert shop("make", tmp_path).startswith("1200 orders")
    assert shop("change", tmp_path).startswith("1260 orders")
    with serving(tmp_path / "shop.db", tmp_path / "media") as url:
        assert answer(f"{url}/health") == (200, "ok, 1260 orders, 401 pictures\n")


def test_shop_notices_what_is_missing(tmp_path: Path) -> None:
    """A shop with an altered picture, or with a database that is torn or gone, is not healthy."""
    shop("make", tmp_path)
    database, media = tmp_path / "shop.db", tmp_path / "media"
    with serving(database, media) as url:
        (media / "-rf.jpg").write_bytes(b"another")
        assert answer(f"{url}/health") == (503, "media: 1 pictures missing or altered, such as b'-rf.jpg'\n")
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 40_000)
        torn = answer(f"{url}/health")
        assert torn is not None
        assert torn[0] == 503
        assert torn[1].startswith("database: ")
        database.unlink()
        assert answer(f"{url}/health") == (503, "database: unable to open database file\n")
        assert not database.exists()
