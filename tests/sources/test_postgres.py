"""PostgreSQL: dumped and restored between two real clusters."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from drorch.core.errors import Interrupted
from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Host
from drorch.core.model import SecretRef
from drorch.core.source import Destination, Expectation, Restored, Stream
from drorch.sources import _postgres as words
from drorch.sources.postgres import Postgres
from support.dumping import Cut, Known, carry, cuts, destination, dump, machine
from support.postgres import LOCKED, Cluster

CANARY = "canary-5d1c\"' \\"
NAMES = (
    "shop",
    'sh"op; drop',
    "-rf",
    "dbname=postgres host=/nowhere",
    "postgres://x",
    "Größe $(touch pwned) :'x'",
    "a" * 63,
)

_SHOP = """
CREATE TABLE orders (id int PRIMARY KEY, note text);
INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 200) n;
CREATE INDEX ON orders (note);
CREATE SCHEMA "lo""g";
CREATE TABLE "lo""g"."ev;ents\n%I'" (x text);
INSERT INTO "lo""g"."ev;ents\n%I'" VALUES (E'a|b\\nc'), (NULL);
CREATE TABLE days (day int) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10);
CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM (10) TO (20);
INSERT INTO days SELECT generate_series(0, 19);
CREATE TABLE parent (x int);
CREATE TABLE child () INHERITS (parent);
INSERT INTO child VALUES (1);
INSERT INTO parent VALUES (2), (3);
"""
_ROWS = {"public.orders": 200, "lo\"g.ev;ents\n%I'": 2, "public.days": 20, "public.parent": 2, "public.child": 1}


def host_of(cluster: Cluster, folder: Path, name: str = "web1", **env: str) -> Host:
    """A machine on which that cluster runs."""
    return machine(name, folder / name, {**cluster.env, **env})


def quoted(name: str) -> str:
    """As an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def unique(tmp_path: Path, stem: str = "shop") -> str:
    """A database name that no other test of this session has."""
    return f"{stem}_{tmp_path.name}"[-60:]


def loaded(source: Postgres, host: Host, into: Destination, secrets: Known | None = None) -> Restored:
    """Load, which must succeed."""
    outcome = source.load(host, into, secrets or Known())
    assert isinstance(outcome, Restored), outcome
    return outcome


@pytest.fixture
def clean(postgres: Cluster, postgres_standby: Cluster) -> Iterator[None]:
    """Nothing named by drorch is left after the test, on either cluster."""
    yield
    for cluster in (postgres, postgres_standby):
        for name in cluster.databases():
            if name.startswith("drorch_"):
                cluster.sql(f"DROP DATABASE {quoted(name)} WITH (FORCE)")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"database": ""}, "at least 1"),
        ({"database": "a\nb"}, "line breaks"),
        ({"database": "ä" * 40}, "longer than 63 bytes"),
        ({"run_as": "-x"}, "pattern"),
        ({"run_as": "postgres", "password": {"secret": "x"}}, "exclude each other"),
        ({"password": "plain"}, "SecretRef"),
        ({"port": 0}, "greater than"),
        ({"databse": "shop"}, "Extra inputs"),
    ],
)
def test_sources_that_cannot_be_meant_are_refused(more: dict[str, object], message: str) -> None:
    """What would fail at night is refused when it is written."""
    with pytest.raises(ValidationError, match=message):
        Postgres.model_validate({"kind": "postgres", "database": "shop", **more})


def test_a_dump_is_uncompressed_and_the_database_is_its_last_part() -> None:
    """Roles first, the database last; names and passwords travel in the environment, a password by its name only."""
    source = Postgres(kind="postgres", database='sh"op', password=SecretRef(secret="pg"), exclude_data=("log.*",))
    assert Postgres.model_validate(source.model_dump(mode="json")) == source
    roles, main = source.parts()
    assert isinstance(roles, Stream)
    assert isinstance(main, Stream)
    assert roles.argv == ("pg_dumpall", "--globals-only", "--no-role-passwords", "--no-password")
    assert {"--format=custom", "--compress=0", "--no-password", "--exclude-table-data=log.*"} < set(main.argv)
    assert main.env["PGDATABASE"] == 'sh"op'
    assert main.env["PGPASSWORD"] == SecretRef(secret="pg")
    assert "PGHOST" not in main.env
    bare = source.model_copy(update={"globals": False})
    assert bare.parts() == (main,)


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("name", NAMES)
def test_a_database_of_any_name_comes_back_on_another_cluster(
    postgres: Cluster, postgres_standby: Cluster, tmp_path: Path, name: str
) -> None:
    """Every row of every table is back in a database of the drill's own, and nothing else on the standby changed."""
    postgres.create_database(name)
    postgres.sql(_SHOP, database=name)
    source, into = Postgres(kind="postgres", database=name), destination(tmp_path / "into")
    before = (postgres_standby.databases(), postgres_standby.sql("SELECT rolname FROM pg_roles ORDER BY 1"))
    standby = host_of(postgres_standby, tmp_path, "web2")
    carry(source, host_of(postgres, tmp_path), into)
    found = loaded(source, standby, into)
    assert found.name == into.token
    evidence = source.verify(standby, found, Expectation(tables={"orders": 200, "public.days": 20}), Known())
    assert isinstance(evidence, Evidence), evidence
    assert evidence.level is ProofLevel.RESTORED
    assert evidence.facts["tables"] == _ROWS
    assert evidence.facts["indexes_checked"] > 100
    assert evidence.facts["bytes"] > 1 << 20
    for _ in range(2):
        assert source.discard(standby, into, Known()) is None
    after = (postgres_standby.databases(), postgres_standby.sql("SELECT rolname FROM pg_roles ORDER BY 1"))
    assert after == before
    assert not list(tmp_path.rglob("pwned"))
    postgres.sql(f"DROP DATABASE {quoted(name)}")


@pytest.mark.parametrize(
    ("change", "sign", "hint"),
    [
        ({"database": "no such database"}, "does not exist", ""),
        ({"port": 1}, "connection to server", "is PostgreSQL running"),
        ({"user": LOCKED}, "no password supplied", "password"),
        ({"binaries": "/nowhere"}, "/nowhere/pg_dump", "binaries"),
    ],
)
def test_a_dump_that_cannot_be_made_fails(
    postgres: Cluster, tmp_path: Path, change: dict[str, object], sign: str, hint: str
) -> None:
    """Nothing is asked of a terminal, the exit code is not 0, and the source knows a remedy."""
    postgres.sql(f"DO $$ BEGIN CREATE ROLE {LOCKED} LOGIN; EXCEPTION WHEN OTHERS THEN NULL; END $$")
    source = Postgres.model_validate({"kind": "postgres", "database": "postgres", **change})
    part = source.parts()[-1]
    assert isinstance(part, Stream)
    done = dump(host_of(postgres, tmp_path), part, Known())
    assert not done.ok
    assert sign in done.errors
    assert hint in source.remedy(done.errors)


@pytest.mark.parametrize(("errors", "hint"), [(sign, hint) for sign, hint in words.REMEDIES])
def test_every_known_error_has_its_own_remedy(errors: str, hint: str) -> None:
    """No entry of the table is hidden by one before it."""
    assert words.remedy(f"pg_dump: error: {errors} …") == hint
    assert words.remedy("all is well") == ""


@pytest.mark.usefixtures("clean")
def test_a_password_is_used_and_never_shown(postgres: Cluster, tmp_path: Path) -> None:
    """A server that wants a password gets it; no command, preview or outcome holds it."""
    name = postgres.create_database(unique(tmp_path))
    literal = CANARY.replace("'", "''")
    postgres.sql(
        f"DROP ROLE IF EXISTS {LOCKED}; CREATE ROLE {LOCKED} LOGIN SUPERUSER;"
        f"ALTER ROLE {LOCKED} PASSWORD '{literal}'; CREATE TABLE t (x int)",
        database=name,
    )
    source = Postgres(kind="postgres", database=name, user=LOCKED, address="127.0.0.1", password=SecretRef(secret="pg"))
    into, secrets = destination(tmp_path / "into"), Known({"pg": CANARY})
    watched = Cut(host_of(postgres, tmp_path), 0)
    carry(source, watched, into, secrets)
    found = loaded(source, watched, into, secrets)
    evidence = source.verify(watched, found, Expectation(), secrets)
    assert isinstance(evidence, Evidence), evidence
    moved = source.swap(watched, found, into, secrets)
    assert isinstance(moved, Evidence), moved
    assert source.discard(watched, into, secrets) is None
    shown = [str(found), str(evidence), str(moved), str(source.preview_load(into)), str(source)]
    assert watched.commands
    for command in watched.commands:
        shown += [repr(command), *command.argv, str(command.stdin)]
    assert not [text for text in shown if "canary-5d1c" in text]
    wrong = source.load(watched, into, Known({"pg": "wrong"}))
    assert isinstance(wrong, Failure)
    assert "password" in wrong.hint
    postgres.sql(f"DROP DATABASE {quoted(name)}; DROP DATABASE {quoted(moved.facts['kept'])}; DROP ROLE {LOCKED}")


@pytest.mark.usefixtures("clean")
def test_a_drill_leaves_roles_alone_and_a_real_restore_brings_owners_settings_and_grants(
    postgres: Cluster, postgres_standby: Cluster, tmp_path: Path
) -> None:
    """The drill runs without the primary's roles; the real restore says that they are missing, then gives all back."""
    name, role = postgres.create_database(unique(tmp_path, 'o"wned')), f"keeper_{os.getpid()}"
    postgres.sql(
        f"CREATE ROLE {role};"
        f"ALTER DATABASE {quoted(name)} OWNER TO {role};"
        f"ALTER DATABASE {quoted(name)} SET work_mem = '5MB';"
        f"ALTER DATABASE {quoted(name)} SET search_path = 'a ; \" b', public;"
        f"REVOKE ALL ON DATABASE {quoted(name)} FROM PUBLIC;"
        f"COMMENT ON DATABASE {quoted(name)} IS 'it''s; mine';"
        f"CREATE TABLE t (x int); ALTER TABLE t OWNER TO {role};"
        f"CREATE PUBLICATION everything FOR ALL TABLES",
        database=name,
    )
    source, standby = Postgres(kind="postgres", database=name), host_of(postgres_standby, tmp_path, "web2")
    drill, real = destination(tmp_path / "drill"), destination(tmp_path / "real", drill=False)
    carry(source, host_of(postgres, tmp_path), drill)
    found = loaded(source, standby, drill)
    assert postgres_standby.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'") == ""  # noqa: S608 - our own name
    assert postgres_standby.sql("SELECT count(*) FROM pg_publication", database=found.name) == "0"
    carry(source, host_of(postgres, tmp_path), real)
    failure = source.load(standby, real, Known())
    assert isinstance(failure, Failure)
    assert failure.hint.endswith(f"from {real.directory}/globals/globals.sql")
    assert f"CREATE ROLE {role}" in Path(real.directory, "globals/globals.sql").read_text()
    postgres_standby.sql(f"CREATE ROLE {role}")
    loaded(source, standby, real)
    about = "pg_get_userbyid(datdba), datacl, setconfig, shobj_description(d.oid, 'pg_database')"
    ask = f"SELECT {about} FROM pg_database d LEFT JOIN pg_db_role_setting ON setdatabase = d.oid WHERE datname = "  # noqa: S608 - ours
    literal = "'" + name.replace("'", "''") + "'"
    assert postgres_standby.sql(f"{ask}'{real.token}'") == postgres.sql(ask + literal)
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 't'"
    assert postgres_standby.sql(owner, database=real.token) == role
    for into in (drill, real):
        assert source.discard(standby, into, Known()) is None
    postgres.sql(f"DROP DATABASE {quoted(name)}; DROP ROLE {role}")
    postgres_standby.sql(f"DROP ROLE {role}")


@pytest.mark.usefixtures("clean")
def test_a_load_cut_at_any_command_is_taken_up_and_cleared_away(postgres: Cluster, tmp_path: Path) -> None:
    """After a stop at any command the next load is whole, and after a stop and a discard nothing is left."""
    name = postgres.create_database(unique(tmp_path))
    postgres.sql("CREATE TABLE t AS SELECT generate_series(1, 50)", database=name)
    source, host, into = (
        Postgres(kind="postgres", database=name),
        host_of(postgres, tmp_path),
        destination(tmp_path / "i"),
    )
    carry(source, host, into)
    for way in cuts(lambda each: source.load(each, into, Known()), host):
        with pytest.raises(Interrupted):
            source.load(Cut(host, way.at, way.after), into, Known())
        found = loaded(source, host, into)
        assert postgres.sql("SELECT count(*) FROM t", database=found.name) == "50"
    for way in cuts(lambda each: source.discard(each, into, Known()), host):
        loaded(source, host, into)
        with pytest.raises(Interrupted):
            source.discard(Cut(host, way.at, way.after), into, Known())
        assert source.discard(host, into, Known()) is None
        assert into.token not in postgres.databases()
    postgres.sql(f"DROP DATABASE {quoted(name)}")


@pytest.mark.usefixtures("clean")
def test_a_half_filled_database_in_use_is_replaced(postgres: Cluster, tmp_path: Path) -> None:
    """What a former attempt left is dropped first, also while somebody is connected to it."""
    name = postgres.create_database(unique(tmp_path))
    postgres.sql("CREATE TABLE t (x int)", database=name)
    source, host, into = (
        Postgres(kind="postgres", database=name),
        host_of(postgres, tmp_path),
        destination(tmp_path / "i"),
    )
    carry(source, host, into)
    postgres.create_database(into.token)
    postgres.sql("CREATE TABLE t (other text)", database=into.token)
    with connected(postgres, into.token):
        loaded(source, host, into)
    with connected(postgres, into.token):
        assert source.discard(host, into, Known()) is None
    assert into.token not in postgres.databases()
    postgres.sql(f"DROP DATABASE {quoted(name)}")


class connected:  # noqa: N801 - read as a word at the with statement
    """Somebody who sits in a database with an open transaction."""

    def __init__(self, cluster: Cluster, database: str) -> None:
        self._arguments = (cluster, database)

    def __enter__(self) -> None:
        cluster, database = self._arguments
        self._psql = subprocess.Popen(
            [cluster.binaries / "psql", "-XAtq", "--no-password"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**cluster.env, "PGDATABASE": database},
        )
        assert self._psql.stdin is not None
        assert self._psql.stdout is not None
        self._psql.stdin.write(b"BEGIN; SELECT 'here';\n")
        self._psql.stdin.flush()
        assert self._psql.stdout.readline() == b"here\n"

    def __exit__(self, *_: object) -> None:
        self._psql.kill()
        self._psql.communicate()


@pytest.fixture
def swap(postgres: Cluster, tmp_path: Path) -> Iterator[Callable[[str], tuple[Postgres, Host, Destination, Restored]]]:
    """Makes a live database that lost its rows after the backup, with the restored one beside."""
    made: list[str] = []

    def make(ending: str) -> tuple[Postgres, Host, Destination, Restored]:
        name = postgres.create_database(f'l"ive {ending}_{tmp_path.name}'[:50])
        postgres.sql("CREATE TABLE t AS SELECT generate_series(1, 50)", database=name)
        source, host = Postgres(kind="postgres", database=name), host_of(postgres, tmp_path)
        into = destination(tmp_path / ending, drill=False)
        carry(source, host, into)
        postgres.sql("DELETE FROM t", database=name)
        made.extend((name, f"{name}_before_{into.token[-12:]}", into.token))
        return source, host, into, loaded(source, host, into)

    yield make
    for name in made:
        postgres.sql(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")


Swap = Callable[[str], tuple[Postgres, Host, Destination, Restored]]


def test_a_swap_cut_at_any_command_is_taken_up(postgres: Cluster, swap: Swap) -> None:
    """The restored rows end up live and the old database is kept, whatever command a stop came at; twice is once."""
    source, host, into, found = swap("count")
    ways = cuts(lambda each: source.swap(each, found, into, Known()), host)
    for number, way in enumerate(ways):
        source, host, into, found = swap(str(number))
        with pytest.raises(Interrupted):
            source.swap(Cut(host, way.at, way.after), found, into, Known())
        outcomes = [source.swap(host, found, into, Known()) for _ in range(2)]
        kept = f"{source.database}_before_{into.token[-12:]}"
        assert outcomes == [Evidence(facts={"live": source.database, "kept": kept})] * 2
        assert postgres.sql("SELECT count(*) FROM t", database=source.database) == "50"
        assert postgres.sql("SELECT count(*) FROM t", database=kept) == "0"
        assert into.token not in postgres.databases()
        again = loaded(source, host, into)  # the step as a whole, done once more, leaves the live one alone
        assert again.name == source.database
        assert isinstance(source.verify(host, again, Expectation(tables={"t": 50}), Known()), Evidence)
        assert source.swap(host, again, into, Known()) == outcomes[0]


def test_a_swap_throws_out_who_is_connected(postgres: Cluster, swap: Swap) -> None:
    """Clients of the live database and of the restored one do not hold the swap up."""
    source, host, into, found = swap("busy")
    with connected(postgres, source.database), connected(postgres, into.token):
        outcome = source.swap(host, found, into, Known())
    assert isinstance(outcome, Evidence), outcome


def test_a_swap_that_fails_leaves_the_live_database_open(postgres: Cluster, swap: Swap) -> None:
    """When the renames cannot be done the live database goes on as before; a stranger's database is never replaced."""
    source, host, into, found = swap("stuck")
    kept = postgres.create_database(f"{source.database}_before_{into.token[-12:]}")
    failure = source.swap(host, found, into, Known())
    assert isinstance(failure, Failure)
    assert kept in failure.why
    postgres.sql(f"DROP DATABASE {quoted(kept)}")
    script = words.EXCHANGE.replace("COMMIT;", "SELECT 1/0; COMMIT;")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "EXCHANGE", script)
        failure = source.swap(host, found, into, Known())
    assert isinstance(failure, Failure)
    assert postgres.sql("SELECT count(*) FROM t", database=source.database) == "0"
    outcome = source.swap(host, found, into, Known())
    assert isinstance(outcome, Evidence), outcome


def test_a_database_that_is_not_there_is_put_there(
    postgres: Cluster, postgres_standby: Cluster, tmp_path: Path
) -> None:
    """On a bare standby nothing is kept, and doing it twice is doing it once."""
    name = postgres.create_database(unique(tmp_path))
    postgres.sql("CREATE TABLE t (x int)", database=name)
    source, into = Postgres(kind="postgres", database=name), destination(tmp_path / "into", drill=False)
    standby = host_of(postgres_standby, tmp_path, "web2")
    carry(source, host_of(postgres, tmp_path), into)
    found = loaded(source, standby, into)
    for _ in range(2):
        assert source.swap(standby, found, into, Known()) == Evidence(facts={"live": name, "kept": None})
    for cluster in (postgres, postgres_standby):
        cluster.sql(f"DROP DATABASE {quoted(name)}")
    again = source.swap(standby, found, into, Known())
    assert isinstance(again, Failure)


@pytest.mark.parametrize(
    ("expect", "why"),
    [
        ({"orders": 201}, "table orders has 200 rows"),
        ({"public.gone": 0}, "no table public.gone"),
        ({"t": 0}, "say a.t or b.t"),
        ({"orders": 200, "a.t": 0}, ""),
    ],
)
@pytest.mark.usefixtures("clean")
def test_expected_rows_are_counted(postgres: Cluster, tmp_path: Path, expect: dict[str, int], why: str) -> None:
    """A table with fewer rows than expected, of no or of two schemas, fails and says so."""
    into = destination(tmp_path / "into")
    postgres.create_database(into.token)
    postgres.sql(
        _SHOP + "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (); CREATE TABLE b.t ();", database=into.token
    )
    source, host = Postgres(kind="postgres", database="shop"), host_of(postgres, tmp_path)
    outcome = source.verify(host, Restored(host="web1", name=into.token), Expectation(tables=expect), Known())
    if why:
        assert isinstance(outcome, Failure)
        assert why in f"{outcome.why} {outcome.hint}"
        assert outcome.facts["tables"]["public.orders"] == 200
    else:
        assert isinstance(outcome, Evidence), outcome


@pytest.mark.usefixtures("clean")
def test_a_database_without_tables_proves_nothing(postgres: Cluster, tmp_path: Path) -> None:
    """An empty database is the classic silent backup: it fails."""
    into = destination(tmp_path / "into")
    postgres.create_database(into.token)
    source, host = Postgres(kind="postgres", database="shop"), host_of(postgres, tmp_path)
    outcome = source.verify(host, Restored(host="web1", name=into.token), Expectation(), Known())
    assert isinstance(outcome, Failure)
    assert "no table" in outcome.why


@pytest.mark.usefixtures("clean")
def test_an_index_that_lost_a_row_is_found_and_the_check_leaves_nothing(postgres: Cluster, tmp_path: Path) -> None:
    """A broken index fails the check; amcheck itself is not left behind; who may not use it says what was skipped."""
    into, role = destination(tmp_path / "into"), f"plain_{os.getpid()}"
    postgres.create_database(into.token)
    postgres.sql(f"CREATE ROLE {role} LOGIN; GRANT pg_read_all_data TO {role}")
    postgres.sql(_SHOP, database=into.token)
    source, host = Postgres(kind="postgres", database="shop"), host_of(postgres, tmp_path)
    found = Restored(host="web1", name=into.token)
    plain = source.model_copy(update={"user": role})
    modest = plain.verify(host, found, Expectation(), Known())
    assert isinstance(modest, Evidence), modest
    assert "amcheck needs a superuser" in modest.facts["skipped"][1]
    assert isinstance(source.verify(host, found, Expectation(), Known()), Evidence)
    left = "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'"
    assert postgres.sql(left, database=into.token) == "0"
    postgres.sql(
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'orders_pkey'::regclass;"
        "INSERT INTO orders VALUES (1000, 'not in the index');"
        "UPDATE pg_index SET indisready = true WHERE indexrelid = 'orders_pkey'::regclass;",
        database=into.token,
    )
    failure = source.verify(host, found, Expectation(), Known())
    assert isinstance(failure, Failure)
    assert "amcheck" in failure.why
    assert failure.facts["tables"]["public.orders"] == 201
    assert source.discard(host, into, Known()) is None
    postgres.sql(f"DROP ROLE {role}")


def test_another_account_runs_the_programs(postgres: Cluster, tmp_path: Path) -> None:
    """With ``run_as`` every program that talks to the server goes through sudo, and reads dumps from what is opened."""
    name = postgres.create_database(unique(tmp_path))
    postgres.sql("CREATE TABLE t (x int)", database=name)
    log, tools = tmp_path / "sudo.log", tmp_path / "tools"
    tools.mkdir()
    (tools / "sudo").write_text(
        f'#!/bin/sh\necho "$*" >> {log}\n[ "$1 $2" = "-n --preserve-env" ] && exit 9\n'
        'while [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
    )
    (tools / "sudo").chmod(stat.S_IRWXU)
    host = host_of(postgres, tmp_path, PATH=f"{tools}:{postgres.env['PATH']}")
    source, into = Postgres(kind="postgres", database=name, run_as="postgres"), destination(tmp_path / "into")
    carry(source, host, into)
    found = loaded(source, host, into)
    assert isinstance(source.verify(host, found, Expectation(tables={"t": 0}), Known()), Evidence)
    assert source.discard(host, into, Known()) is None
    lines = log.read_text().splitlines()
    assert len(lines) == 8
    assert all(line.startswith("-n --preserve-env=PGHOST,") and "--user=postgres -- p" in line for line in lines)
    postgres.sql(f"DROP DATABASE {quoted(name)}")


@pytest.mark.parametrize("content", [b"", b"PGDMP", b"no dump at all\n" * 1000])
def test_what_is_no_dump_is_not_loaded(postgres: Cluster, tmp_path: Path, content: bytes) -> None:
    """A truncated or foreign file fails before a database is made."""
    into = destination(tmp_path / "into")
    Path(into.directory, "database").mkdir()
    Path(into.directory, "database/database.dump").write_bytes(content)
    failure = Postgres(kind="postgres", database="shop").load(host_of(postgres, tmp_path), into, Known())
    assert isinstance(failure, Failure)
    assert into.token not in postgres.databases()


@pytest.mark.usefixtures("clean")
def test_a_truncated_dump_is_not_loaded(postgres: Cluster, tmp_path: Path) -> None:
    """A dump that lacks its end fails the load, and the discard clears what was made."""
    name = postgres.create_database(unique(tmp_path))
    postgres.sql("CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)", database=name)
    source, host, into = (
        Postgres(kind="postgres", database=name),
        host_of(postgres, tmp_path),
        destination(tmp_path / "i"),
    )
    carry(source, host, into)
    file = Path(into.directory, "database/database.dump")
    file.write_bytes(file.read_bytes()[:2_000_000])
    assert isinstance(source.load(host, into, Known()), Failure)
    assert source.discard(host, into, Known()) is None
    assert into.token not in postgres.databases()
    postgres.sql(f"DROP DATABASE {quoted(name)}")


@pytest.mark.parametrize(
    "token", ["shop", "postgres", "drorch", "drorch_", "xdrorch_a", "drorch_a-b", "drorch_" + "a" * 40]
)
def test_only_names_of_the_runs_own_are_dropped(postgres: Cluster, tmp_path: Path, token: str) -> None:
    """A destination that no run of drorch made is refused before any command runs."""
    into = Destination(token=token, directory=str(tmp_path), drill=True)
    source, host = Postgres(kind="postgres", database="shop"), Cut(host_of(postgres, tmp_path), 0)
    assert isinstance(source.load(host, into, Known()), Failure)
    assert isinstance(source.discard(host, into, Known()), Failure)
    assert isinstance(source.swap(host, Restored(host="web1", name=token), into, Known()), Failure)
    assert host.commands == []


@pytest.mark.parametrize("drill", [True, False])
def test_the_preview_is_what_is_run(postgres: Cluster, tmp_path: Path, *, drill: bool) -> None:
    """The printed plan's commands are those of the load, but for what only the dump knows."""
    name = postgres.create_database(unique(tmp_path))
    source, into = Postgres(kind="postgres", database=name), destination(tmp_path / "into", drill=drill)
    watched = Cut(host_of(postgres, tmp_path), 0)
    carry(source, watched.host, into)
    loaded(source, watched, into)
    planned = [command.argv for command in source.preview_load(into)]
    ran = [tuple(word if not word.startswith("--set=options=") else "--set=options=<options>" for word in command.argv)
           for command in watched.commands]  # fmt: skip
    if not drill:
        del ran[5]  # owner, settings and grants, as the dump says them
    assert ran == planned
    assert source.discard(watched.host, into, Known()) is None
    postgres.sql(f"DROP DATABASE {quoted(name)}")
