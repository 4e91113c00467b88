"""The archive of a kit: sound ones come back whole, hostile ones write nothing."""

import io
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from drorch.core.clock import Halt
from drorch.core.errors import KitError, Refused, SecretError, UnknownName
from drorch.core.host import HostSpec, LocalHostSpec, SshHostSpec
from drorch.core.model import SecretRef
from drorch.core.secret import SecretSpec
from drorch.hosts.local import LocalHost
from drorch.vault.carried import gather
from drorch.vault.kit import INVENTORY, MOST_BYTES, lay_out, unpack
from drorch.vault.sealed import read_bounded, write_sealed
from drorch.vault.secrets import SecretStore
from drorch.vault.signing import Signer
from support.kits import archived, members, packed

HERE = LocalHost("controller", LocalHostSpec(), halt=Halt())
Content = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Signs manifests."""
    return Signer.open(tmp_path_factory.mktemp("keys"))


def test_a_kit_comes_back_whole_and_private(signer: Signer, tmp_path: Path) -> None:
    """Every file to the byte, 0600 in folders of 0700; the archive is the same each time."""
    archive = packed(signer, {"runbooks/nightly.yaml": b"\xef\xbb\xbfkind: backup # \r\n"})
    assert archive == packed(signer, {"runbooks/nightly.yaml": b"\xef\xbb\xbfkind: backup # \r\n"})
    kit = unpack(archive)
    lay_out(kit, tmp_path / "kit")
    for path, content in kit.files.items():
        assert (tmp_path / "kit" / path).read_bytes() == content
    modes = {path.stat().st_mode & 0o7777 for path in (tmp_path / "kit").rglob("*") if path.is_file()}
    assert modes == {0o600}
    folders = [tmp_path / "kit", *(path for path in (tmp_path / "kit").rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o7777 for path in folders} == {0o700}


def renamed(name: str) -> Callable[[Content], Content]:
    """Give the secret another path."""

    def spoil(content: Content) -> Content:
        for one, _ in content:
            one.name = name if one.name == "secrets/nas" else one.name
        return content

    return spoil


def turned(kind: bytes, target: str = "/etc/passwd") -> Callable[[Content], Content]:
    """Make a link, device or the like of the secret."""

    def spoil(content: Content) -> Content:
        for one, _ in content:
            if one.name == "secrets/nas":
                one.type, one.linkname, one.size = kind, target, 0
        return content

    return spoil


def more(name: str, data: bytes = b"x") -> Callable[[Content], Content]:
    """Put another file in."""

    def spoil(content: Content) -> Content:
        one = tarfile.TarInfo(name)
        one.size = len(data)
        return [*content, (one, data)]

    return spoil


def without(name: str) -> Callable[[Content], Content]:
    """Take a file out."""
    return lambda content: [pair for pair in content if pair[0].name != name]


def altered(name: str) -> Callable[[Content], Content]:
    """Change a byte of a file."""
    return lambda content: [
        (one, bytes([data[0] ^ 1]) + data[1:] if one.name == name else data) for one, data in content
    ]


def swollen(content: Content) -> Content:
    """Say that a small file is huge, by holes."""
    for one, _ in content:
        if one.name == "secrets/nas":
            one.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    return content


HOSTILE: dict[str, Callable[[Content], Content]] = {
    "a path upwards": renamed("../../etc/cron.d/x"),
    "a path upwards within": renamed("secrets/../../x"),
    "an absolute path": renamed("/etc/cron.d/x"),
    "a hidden file": renamed("secrets/.ssh"),
    "a newline in a name": renamed("secrets/nas\n"),
    "a name without a place": renamed("bin/restic"),
    "a symbolic link": turned(tarfile.SYMTYPE),
    "a hard link": turned(tarfile.LNKTYPE, "config/drorch.yaml"),
    "a device": turned(tarfile.CHRTYPE),
    "a pipe": turned(tarfile.FIFOTYPE),
    "a folder in a file's place": turned(tarfile.DIRTYPE),
    "holes": swollen,
    "a file twice": more("secrets/nas"),
    "a file more": more("secrets/other"),
    "too many files": lambda content: [*content, *(more(f"secrets/n{n}")([])[0] for n in range(5_001))],
    "a file less": without("secrets/nas"),
    "no manifest": without("manifest.json"),
    "no signature": without("manifest.json.sig"),
    "no inventory": without(INVENTORY),
    "an altered file": altered("secrets/nas"),
    "an altered manifest": altered("manifest.json"),
    "an altered signature": altered("manifest.json.sig"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused(signer: Signer, name: str) -> None:
    """Nothing is believed that drorch would not have written; the error shows no control characters."""
    spoiled = archived(HOSTILE[name](members(packed(signer))))
    with pytest.raises(KitError) as refused:
        unpack(spoiled)
    assert refused.value.hint
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("archive", [b"", b"\0" * 10_240, b"no archive", b"\x1f\x8b" + b"x" * 600])
def test_what_is_no_archive_is_refused(archive: bytes) -> None:
    """Junk, nothing and compressed bombs are no kit."""
    with pytest.raises(KitError):
        unpack(archive)


def test_any_cut_is_noticed(signer: Signer) -> None:
    """An archive that ends early is no kit, wherever it ends."""
    archive = packed(signer)
    end = archive.rindex(b"planted-nas-value")
    for cut in range(0, end, 97):
        with pytest.raises(KitError):
            unpack(archive[:cut])


def test_a_compressed_archive_is_not_unpacked(signer: Signer) -> None:
    """No kit is compressed, so nothing can grow."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for one, data in members(packed(signer)):
            archive.addfile(one, io.BytesIO(data))
    with pytest.raises(KitError):
        unpack(out.getvalue())


def a_file(path: Path) -> None:
    """A file."""
    path.write_text("mine")


def a_full_folder(path: Path) -> None:
    """A folder with something in it."""
    path.mkdir()
    (path / "mine").write_text("mine")


def a_link(path: Path) -> None:
    """A link to an empty folder."""
    (path.parent / "elsewhere").mkdir()
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("occupy", [a_file, a_full_folder, a_link])
def test_a_kit_is_laid_out_over_nothing(signer: Signer, tmp_path: Path, occupy: Callable[[Path], None]) -> None:
    """What is there stays as it is."""
    there = tmp_path / "there"
    occupy(there)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(Refused, match="there already"):
        lay_out(unpack(packed(signer)), there)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_an_empty_folder_becomes_private(signer: Signer, tmp_path: Path) -> None:
    """A folder that was made beforehand is closed before the first secret is in it."""
    (tmp_path / "there").mkdir(mode=0o755)
    lay_out(unpack(packed(signer)), tmp_path / "there")
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o700


KILLS = """
import os, signal, sys
from pathlib import Path
from drorch.vault.sealed import write_sealed
module, name, after = sys.argv[1:4]
holder = {"os": os, "Path": Path}[module]
kept = getattr(holder, name)
def killed(*args, **kwargs):
    if after == "after": kept(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(holder, name, killed)
write_sealed(Path(sys.argv[4]), b"sealed" * 100_000, force=False)
"""


@pytest.mark.parametrize(
    ("where", "whole"),
    [
        (("os", "fsync", "before"), False),
        (("Path", "hardlink_to", "before"), False),
        (("Path", "hardlink_to", "after"), True),
    ],
)
def test_a_kill_leaves_no_half_file(tmp_path: Path, where: tuple[str, ...], *, whole: bool) -> None:
    """Killed at any moment, the kit is there whole or not at all, and never readable by others."""
    kit = tmp_path / "kit.age"
    done = subprocess.run([sys.executable, "-c", KILLS, *where, kit], check=False)
    assert done.returncode == -signal.SIGKILL
    assert kit.exists() is whole
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    assert not whole or kit.read_bytes() == b"sealed" * 100_000


def test_a_kit_is_replaced_on_demand_only(tmp_path: Path) -> None:
    """An old kit is not lost by a slip, and a folder is never replaced."""
    kit = tmp_path / "kit.age"
    write_sealed(kit, b"one", force=False)
    with pytest.raises(Refused, match="already"):
        write_sealed(kit, b"two", force=False)
    assert kit.read_bytes() == b"one"
    write_sealed(kit, b"two", force=True)
    assert (kit.read_bytes(), kit.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (b"two", 0o600, [kit])
    with pytest.raises(Refused):
        write_sealed(tmp_path, b"x", force=True)
    with pytest.raises(KitError, match="no folder"):
        write_sealed(tmp_path / "none" / "kit.age", b"x", force=False)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A file that cannot be a kit is refused before it fills the memory."""
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(MOST_BYTES * 4)
    with pytest.raises(KitError, match="larger than"):
        read_bounded(huge)


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., SecretStore]:
    """Makes stores of secrets from files of these values."""

    def make(**values: bytes) -> SecretStore:
        specs = {}
        for name, value in values.items():
            path = tmp_path / name
            path.touch(mode=0o600)
            path.write_bytes(value)
            specs[name] = SecretSpec(file=str(path))
        specs["gone"] = SecretSpec(file=str(tmp_path / "gone"))
        specs["unset"] = SecretSpec(env="UNSET")
        return SecretStore(specs, HERE, {})

    return make


@pytest.mark.parametrize("value", [b"x", b"x\n\n", b" x \r\n", b"two\nlines\n", b"x\r\r\n", "schlüssel".encode()])
def test_a_secret_reads_from_the_kit_as_it_did_before(
    store: Callable[..., SecretStore], tmp_path: Path, value: bytes
) -> None:
    """To the character, whatever newlines it ends with."""
    secrets = store(one=value)
    carried = gather({}, {}, ["one"], secrets)
    (tmp_path / "kit").touch(mode=0o600)
    (tmp_path / "kit").write_bytes(carried.files["secrets/one"])
    again = SecretStore({"one": SecretSpec(file=str(tmp_path / "kit"))}, HERE, {})
    assert again.get(SecretRef(secret="one")).reveal() == secrets.get(SecretRef(secret="one")).reveal()


def test_everything_that_cannot_be_had_is_named(store: Callable[..., SecretStore], tmp_path: Path) -> None:
    """All of it at once, with the words that leave it out; then what is left is carried."""
    hosts: dict[str, HostSpec] = {"web1": SshHostSpec(address="web1", key=str(tmp_path / "no-key"))}
    secrets, names = store(one=b"value"), ["one", "gone", "unset"]
    with pytest.raises(KitError) as refused:
        gather(hosts, {}, names, secrets)
    assert "3 things" in refused.value.message
    assert refused.value.hint.endswith("--without gone --without unset --without key:web1")
    carried = gather(hosts, {}, names, secrets, without=["gone", "unset", "key:web1"])
    assert (list(carried.files), carried.left_out) == (["secrets/one"], ("gone", "unset", "key:web1"))
    with pytest.raises(UnknownName):
        gather(hosts, {}, names, secrets, without=["typo"])
    assert isinstance(refused.value, KitError)
    assert not isinstance(refused.value, SecretError)


def test_a_key_comes_with_its_certificate(store: Callable[..., SecretStore], tmp_path: Path) -> None:
    """A host that wants the certificate beside the key gets it from the kit, too."""
    (tmp_path / "id").write_bytes(b"private")
    (tmp_path / "id-cert.pub").write_bytes(b"certified")
    hosts: dict[str, HostSpec] = {"web1": SshHostSpec(address="web1", key=str(tmp_path / "id"))}
    carried = gather(hosts, {}, [], store())
    assert carried.files == {"keys/web1": b"private", "keys/web1-cert.pub": b"certified"}
