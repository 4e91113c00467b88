"""Every kind of source, from its live state through a real repository to a checked restore on another machine."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, ProofLevel
from drorch.core.host import Host
from drorch.core.model import SecretRef
from drorch.core.repository import Repository, RepositorySpec, Tags
from drorch.core.source import Expectation, Restored, Source
from drorch.repositories import open_repository
from drorch.repositories.restic.repository import ResticRepository
from drorch.sources.command import Custom
from drorch.sources.files import Files
from drorch.sources.postgres import Postgres
from drorch.sources.sqlite import Sqlite
from support.dumping import Known, destination, machine
from support.postgres import Cluster

SECRETS = Known({"vault": "planted-7c21"})
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Vault:
    """An empty repository."""

    repository: Repository
    folder: Path
    search: str

    def machine(self, name: str, env: Mapping[str, str] | None = None) -> Host:
        """A machine that finds restic."""
        env = env or {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        return machine(name, self.folder / name, {**env, "PATH": f"{self.search}:{env['PATH']}"})


@pytest.fixture
def vault(tmp_path: Path, restic: Path) -> Iterator[Vault]:
    """Made with the product's own restic."""
    spec = RepositorySpec(url=str(tmp_path / "vault"), password=SecretRef(secret="vault"))
    controller = machine("controller", tmp_path, {"PATH": f"{restic.parent}:/usr/local/bin:/usr/bin:/bin"})
    opened = open_repository("vault", spec, secrets=SECRETS, controller=controller, state=tmp_path / "state")
    opened.create(controller)
    yield Vault(opened, tmp_path, str(restic.parent))
    if isinstance(opened, ResticRepository):
        opened.close()


def round_trip(source: Source, vault: Repository, primary: Host, standby: Host, folder: Path) -> Evidence:
    """Back up on the primary, restore, load, compare and verify on the standby."""
    into = destination(folder / "into")
    recorded: dict[str, tuple[str, ...]] = {}
    for part in source.parts():
        tags = Tags(service="shop", source="it", part=part.name, run="r@1", plan="0" * 16)
        taken = vault.backup(primary, part, tags, time=NOW, progress=lambda _: None)
        (snapshot,) = [each for each in vault.snapshots(standby, tags={"part": part.name}) if each.id == taken.snapshot]
        recorded[part.name] = snapshot.paths
        vault.restore(standby, snapshot, f"{into.directory}/{part.name}", progress=lambda _: None)
    into = into.model_copy(update={"recorded": recorded})
    restored = source.load(standby, into, SECRETS)
    assert isinstance(restored, Restored), restored
    evidence = source.verify(standby, restored, Expectation(), SECRETS)
    assert isinstance(evidence, Evidence), evidence
    for part in source.parts():  # what the load made has not touched what was restored
        (snapshot,) = vault.snapshots(standby, tags={"part": part.name})
        assert vault.compare(standby, snapshot, f"{into.directory}/{part.name}").differing == ()
    assert source.discard(standby, into, SECRETS) is None
    return evidence


def test_files_go_through_a_repository(vault: Vault, tmp_path: Path) -> None:
    """A home's folder with a hostile name is found again by what the snapshot recorded."""
    (tmp_path / "one" / "one" / "a\nb").mkdir(parents=True)
    (tmp_path / "one" / "one" / "a\nb" / "-f").write_text("x")
    source = Files(kind="files", paths=("~/one",))
    evidence = round_trip(source, vault.repository, vault.machine("one"), vault.machine("two"), tmp_path)
    assert evidence.facts["files"] == 1
    assert evidence.level is ProofLevel.RESTORED


def test_sqlite_goes_through_a_repository(vault: Vault, tmp_path: Path) -> None:
    """A WAL database of the home comes back with its rows."""
    one, source = vault.machine("one"), Sqlite(kind="sqlite", path="~/shop.db")
    with closing(sqlite3.connect(tmp_path / "one" / "shop.db")) as base:
        base.execute("PRAGMA journal_mode = wal")
        base.execute("CREATE TABLE t AS SELECT 1")
        base.commit()
        evidence = round_trip(source, vault.repository, one, vault.machine("two"), tmp_path)
    assert evidence.facts["tables"] == {"t": 1}


def test_a_stream_goes_through_a_repository(vault: Vault, tmp_path: Path) -> None:
    """Bytes of any kind come back as they were written."""
    source = Custom.model_validate(
        {"kind": "command", "backup": ["printf", "\\000\\377 $x"], "verify": ["grep", "-qa", "[$]x", "{file}"]}
    )
    evidence = round_trip(source, vault.repository, vault.machine("one"), vault.machine("two"), tmp_path)
    assert evidence.facts["bytes"] == 5


def test_postgres_goes_through_a_repository(
    vault: Vault, postgres: Cluster, postgres_standby: Cluster, tmp_path: Path
) -> None:
    """A database and its cluster's roles travel between two clusters that stand at different places."""
    name = postgres.create_database("through a repository")
    postgres.sql("CREATE TABLE t AS SELECT generate_series(1, 10)", database=name)
    source = Postgres(kind="postgres", database=name)
    one, two = vault.machine("one", postgres.env), vault.machine("two", postgres_standby.env)
    evidence = round_trip(source, vault.repository, one, two, tmp_path)
    assert evidence.facts["tables"] == {"public.t": 10}
    postgres.sql('DROP DATABASE "through a repository"')


@pytest.mark.parametrize(
    "source",
    [
        Sqlite(kind="sqlite", path="/nowhere/shop.db"),
        Custom(kind="command", backup=("sh", "-c", "echo half a dump; exit 1")),
        Custom(kind="command", backup=("true",)),
        Custom(kind="command", backup=("no-such-program",)),
        Postgres(kind="postgres", database="no such database", globals=False, address="127.0.0.1", port=1),
    ],
)
def test_a_failed_or_empty_stream_leaves_no_snapshot(source: Source, vault: Vault) -> None:
    """A dump that fails, gives nothing or cannot start is an error, and the repository holds nothing of it."""
    (part,), primary = source.parts(), vault.machine("one")
    tags = Tags(service="shop", source="it", part=part.name, run="r@1", plan="0" * 16)
    with pytest.raises(DrorchError):
        vault.repository.backup(primary, part, tags, time=NOW, progress=lambda _: None)
    assert vault.repository.snapshots(primary) == ()
