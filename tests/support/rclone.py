"""``rclone serve s3`` on a folder: a real S3 store without versions and locks, ready in a fifth of a second."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drorch.core.errors import RepositoryError
from drorch.repositories.restic.serve import rclone
from support.processes import eventually
from support.s3 import Client, Keys, client


@dataclass(frozen=True)
class RcloneS3:
    """A running server; whoever has the keys owns everything."""

    folder: Path
    """Each folder in it is a bucket, each file an object."""
    port: int
    owner: Keys

    @property
    def endpoint(self) -> str:
        """Plain HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def access_key(self) -> str:
        """The key id."""
        return self.owner.id

    @property
    def secret_key(self) -> str:
        """Its secret."""
        return self.owner.secret

    def client(self, key: str | None = None, secret: str | None = None) -> Client:
        """A plain boto3 client; with the right keys unless said."""
        return client(self.endpoint, Keys(key, secret or "") if key else self.owner)

    def bucket(self) -> str:
        """A new bucket with a name of its own."""
        name = f"test-{secrets.token_hex(6)}"
        (self.folder / name).mkdir()
        return name


@contextlib.contextmanager
def running_rclone(folder: Path) -> Iterator[RcloneS3]:
    """A server of that folder, for tests and benchmarks; it ends with the context, or with this thread.

    Raises:
        RepositoryError: rclone is missing.
        RuntimeError: it does not start; the text holds what it said.
    """
    program = rclone()
    keys = Keys("RCLONEKEY", secrets.token_urlsafe(24))
    for _ in range(3):  # another process may take the port between the asking and the binding
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", program, "serve", "s3", "--addr", f"127.0.0.1:{port}"),
                    *("--vfs-cache-mode", "off", "--dir-cache-time", "1s", "--", str(folder)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "RCLONE_CONFIG": "", "RCLONE_AUTH_KEY": f'"{keys.id},{keys.secret}"'},
            )
            try:
                if eventually(lambda: process.poll() is not None or _answers(port)) and process.poll() is None:  # noqa: B023 - called at once
                    yield RcloneS3(folder, port, keys)
                    return
            finally:
                process.kill()
                process.wait(10)
            log.seek(0)
            said = log.read().decode(errors="replace")
    raise RuntimeError(f"rclone serve s3 does not start: {said[-2000:]}")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    """A server that the tests of this process share; keep to buckets of your own."""
    try:
        rclone()
    except RepositoryError as error:
        pytest.skip(str(error))
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv here: apt-get install util-linux")
    with running_rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server
