"""A repository's files are found from its address and the inventory, and read wherever they lie."""

from pathlib import Path

import pytest

from drorch.core.errors import StoreError
from drorch.core.host import HostSpec, LocalHostSpec, SshHostSpec
from drorch.core.model import SecretRef
from drorch.core.repository import RepositorySpec
from drorch.core.store import Shelf
from drorch.stores.shelves import Access, Remote, open_shelf, parse_sftp
from support.dumping import Known
from support.rclone import RcloneS3
from support.sshd import Sshd
from support.stores import SUBSYSTEM, SshdOf, means

FILES = {"config": b"c", "data/0a/" + 64 * "0": b"pack", "keys/" + 64 * "1": b"key", "snapshots/" + 64 * "2": b"s"}
HOSTS: dict[str, HostSpec] = {
    "here": LocalHostSpec(),
    "nas": SshHostSpec(address="192.0.2.7", user="backup"),
    "nas-b": SshHostSpec(address="192.0.2.7", user="other", port=2222),
}


def repository(url: str, **credentials: str) -> RepositorySpec:
    """A repository at an address."""
    refs = {name: SecretRef(secret=secret) for name, secret in credentials.items()}
    return RepositorySpec(url=url, password=SecretRef(secret="vault"), credentials=refs)


def filled(folder: Path) -> Path:
    """A folder with the files of a repository."""
    for key, content in FILES.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    return folder


def content(shelf: Shelf, folder: str = "") -> dict[str, bytes]:
    """Everything on it."""
    return {entry.key: shelf.read(entry.key, limit=99) for entry in shelf.entries(folder)}


@pytest.mark.parametrize("form", ["{}", "local:{}", "~/{name}"])
def test_folder(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the controller is read in each way that it can be written."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = filled(tmp_path / "repository")
    shelf = open_shelf("nas", repository(form.format(folder, name=folder.name)), means(), {})
    assert content(shelf) == FILES
    assert list(content(shelf, "keys/")) == ["keys/" + 64 * "1"]


def test_unmounted(tmp_path: Path) -> None:
    """A folder without the repository's config is no empty repository: nothing is listed, and the error says why."""
    shelf = open_shelf("nas", repository(str(tmp_path)), means(), {})
    with pytest.raises(StoreError, match="config is missing") as caught:
        list(shelf.entries("snapshots/"))
    assert "mounted" in caught.value.hint
    with pytest.raises(StoreError, match="no such folder"):
        list(open_shelf("nas", repository(str(tmp_path / "gone")), means(), {}).entries(""))


@pytest.mark.parametrize("form", ["sftp:{user}@far:{path}", "sftp:far:{path}", "sftp://{user}@127.0.0.1:{port}/{path}"])
def test_sftp(sshd_of: SshdOf, tmp_path: Path, form: str) -> None:
    """A folder behind SSH is read through the inventory's host, by its name or its address."""
    machine: Sshd = sshd_of(SUBSYSTEM)
    folder = filled(tmp_path / "repository")
    url = form.format(user=machine.spec.user, port=machine.port, path=folder)
    hosts: dict[str, HostSpec] = {"far": machine.spec}
    shelf = open_shelf("nas", repository(url), means(hosts=hosts), hosts)
    try:
        assert content(shelf) == FILES
    finally:
        shelf.close()


@pytest.mark.parametrize(
    ("rest", "remote"),
    [
        ("backup@nas:/srv/repo", Remote("nas", "backup", None, "/srv/repo")),
        ("nas:repo", Remote("nas", None, None, "repo")),
        ("//backup@nas:2222//srv/repo", Remote("nas", "backup", 2222, "/srv/repo")),
        ("//nas/repo", Remote("nas", None, None, "repo")),
        ("//me%40example@nas/repo", Remote("nas", "me@example", None, "repo")),
        ("//[2001:db8::1]:22//srv", Remote("2001:db8::1", None, 22, "/srv")),
        ("me@example.com@nas:/srv", Remote("nas", "me@example.com", None, "/srv")),
    ],
)
def test_sftp_address(rest: str, remote: Remote) -> None:
    """An SFTP address means what restic takes it for."""
    assert parse_sftp("nas", rest) == remote


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sftp:root@elsewhere:/srv", "name or address elsewhere"),
        ("sftp:root@nas:/srv", "another user or port"),
        ("sftp://backup@192.0.2.7:2022//srv", "another user or port"),
        ("sftp:here:/srv", "name or address here"),
        ("sftp:nas", "no host and path"),
        ("sftp://nas:port/x", "no host and path"),
        ("rest:https://u:planted-password@r.example/x", "rest:"),
        ("b2:bucket:x", "b2:"),
        ("s3:https://s3.example/bucket", "AWS_ACCESS_KEY_ID"),
        ("sftp://u:planted-password@elsewhere/x", "elsewhere"),
    ],
)
def test_refused(url: str, word: str) -> None:
    """What cannot be read is refused before anything connects, with what to do, and without a password."""
    with pytest.raises(StoreError) as caught:
        open_shelf("nas", repository(url), means(hosts=HOSTS), HOSTS)
    assert word in str(caught.value)
    assert caught.value.hint
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "credentials", "word"),
    [
        ("s3:https://s3.example/b", {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}, "bucket"),
        ("s3:https://s3.example/bucket", {"AWS_PROFILE": "id"}, "AWS_PROFILE"),
        ("s3:https://s3.example/bucket/a*b", {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}, "prefix"),
    ],
)
def test_bucket_refused(url: str, credentials: dict[str, str], word: str) -> None:
    """An S3 address or credential that cannot be used is named, without its values."""
    known = Known({"id": "planted-id", "key": "planted-key"})
    with pytest.raises(StoreError, match=word) as caught:
        open_shelf("nas", repository(url, **credentials), means(secrets=known), HOSTS)
    assert "planted" not in str(caught.value)


def test_bucket(rclone_s3: RcloneS3) -> None:
    """A repository in a bucket is read with its own credentials."""
    bucket = rclone_s3.bucket()
    filled(rclone_s3.folder / bucket / "below")
    spec = repository(f"s3:{rclone_s3.endpoint}/{bucket}/below", AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="key")
    known = Known({"id": rclone_s3.access_key, "key": rclone_s3.secret_key})
    shelf = open_shelf("nas", spec, means(secrets=known), {})
    try:
        assert content(shelf) == FILES
    finally:
        shelf.close()


def test_access() -> None:
    """A repository's S3 credential is put together from restic's variables, its other secrets stay as they are."""
    ref = SecretRef(secret="nas-access")
    variables = {
        "AWS_SECRET_ACCESS_KEY": SecretRef(secret="key"),
        "AWS_SESSION_TOKEN": SecretRef(secret="token"),
        "AWS_ACCESS_KEY_ID": SecretRef(secret="id"),
    }
    access = Access(ref, variables, Known({"id": "ID", "key": "KEY", "token": "TOKEN"}))
    assert access.get(ref).reveal() == "ID\nKEY\nTOKEN"
    assert access.get(SecretRef(secret="id")).reveal() == "ID"
