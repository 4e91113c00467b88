"""One PostgreSQL database, with its cluster's roles beside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from drorch.core.evidence import Evidence, Failure, ProofLevel
from drorch.core.host import Command, Completed, Host
from drorch.core.model import Json, SecretRef
from drorch.core.replication import Replication
from drorch.core.secret import Secret, Secrets
from drorch.core.source import Destination, Expectation, Part, Restored, Source, Stream
from drorch.sources import _postgres as words
from drorch.sources._places import Listed, Word, absolute, foreign, suffix
from drorch.sources._postgres_replica import PostgresReplication
from drorch.sources._postgres_server import Replica, Server
from drorch.sources._tables import unmet

_PART = "database"
_DUMP = "database.dump"
_GLOBALS = "globals"
_REPORT_LIMIT = 16 << 20
_NAME_BYTES = 63
_NO_CONNECTION = 2
_KEPT_ENV = (
    "PGHOST,PGHOSTADDR,PGPORT,PGUSER,PGDATABASE,PGSERVICE,PGSERVICEFILE,PGSSLMODE,PGSSLROOTCERT,PGAPPNAME,"
    "PGCLIENTENCODING,PGCONNECT_TIMEOUT,LC_MESSAGES"
)
_FROM_FILE = 'file=$1; shift; exec "$@" <"$file"'


def _database_name(name: str) -> str:
    if any(char in name for char in "\0\r\n"):
        msg = "must not hold line breaks or NUL characters: PostgreSQL's own tools cannot handle such names"
        raise ValueError(msg)
    if len(name.encode()) > _NAME_BYTES:
        msg = f"is longer than {_NAME_BYTES} bytes, PostgreSQL's limit"
        raise ValueError(msg)
    return name


DatabaseName = Annotated[str, StringConstraints(min_length=1), AfterValidator(_database_name)]
Account = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\$?$")]


class Postgres(Source):
    """A PostgreSQL database: a consistent dump while it is in use, restored into a database of the restore's own."""

    kind: Literal["postgres"]
    database: DatabaseName
    """The database to back up."""
    user: Word | None = None
    """Role to connect as; the account's own name unless said, or PGUSER under the host's ``env``."""
    address: Word | None = None
    """Where the server listens: the folder of its socket, a name or an IP address; its usual socket unless said. Leave
    it out when primary and standby differ, and set PGHOST under each host's ``env``."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Its port; 5432 unless said here or as PGPORT under the host's ``env``."""
    password: SecretRef | None = None
    """The role's password, as ``{secret: NAME}``. Not needed with peer authentication."""
    run_as: Account | None = None
    """Account on the host that runs PostgreSQL's programs, through ``sudo -n -u``; mostly ``postgres``. The login user
    needs the sudoers line ``LOGIN ALL=(postgres) NOPASSWD:SETENV: ALL``."""
    binaries: Annotated[str, StringConstraints(pattern=r"^/[^\x00]*[^/\x00]$")] | None = None
    """Folder of pg_dump and its kin, such as ``/usr/lib/postgresql/17/bin``; the host's PATH unless said. They must not
    be older than the server."""
    globals: bool = True
    """Whether the cluster's roles and tablespaces are kept beside the dump, for a restore onto a bare machine."""
    role_passwords: bool = False
    """Whether that holds the roles' password hashes too; the user must be a superuser then."""
    exclude_data: Annotated[tuple[Word, ...], Listed] = ()
    """Tables whose rows are left out, as pg_dump's patterns: ``sessions``, ``log.*``."""
    jobs: Annotated[int, Field(ge=1, le=64)] = 4
    """Parallel connections of a restore; one with `run_as`."""
    maintenance_database: Annotated[DatabaseName, StringConstraints(pattern=r"^[^=:]+$")] = "postgres"
    """Database to connect to while others are created, renamed and dropped."""
    replica: Replica | None = None
    """How a standby follows the server, for failovers; without it a failover has to restore a backup."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.run_as and self.password:
            msg = "run_as and password exclude each other: run_as means that the server trusts the account"
            raise ValueError(msg)
        return self

    def describe(self) -> str:
        """The database."""
        return f"PostgreSQL database {self.database}"

    def replication(self) -> Replication | None:
        """Streaming replication of the whole server, where `replica` is said."""
        if self.replica is None:
            return None
        return PostgresReplication(
            server=Server(
                replica=self.replica,
                database=self.maintenance_database,
                user=self.user,
                address=self.address,
                port=self.port,
                password=self.password,
                run_as=self.run_as,
                binaries=self.binaries,
            )
        )

    def parts(self) -> tuple[Part, ...]:
        """The roles, unless unwanted, then the dump: uncompressed, so that unchanged pieces are stored once."""
        flags = () if self.role_passwords else ("--no-role-passwords",)
        roles = (*self._tool("pg_dumpall"), "--globals-only", *flags, "--no-password")
        if self.maintenance_database != "postgres":
            roles += (f"--database={self.maintenance_database}",)
        dump = (
            *self._tool("pg_dump"),
            *("--format=custom", "--compress=0", "--no-password"),
            *(f"--exclude-table-data={pattern}" for pattern in self.exclude_data),
        )
        password = {"PGPASSWORD": self.password} if self.password else {}
        one = Stream(name=_GLOBALS, filename="globals.sql", argv=roles, env={**self._env(None), **password})
        main = Stream(name=_PART, filename=_DUMP, argv=dump, env={**self._env(self.database), **password})
        return (one, main) if self.globals else (main,)

    def remedy(self, errors: str) -> str:
        """What PostgreSQL's error asks for."""
        return words.remedy(errors)

    def preview_load(self, into: Destination) -> tuple[Command, ...]:
        """The commands of `load`; what the dump says of encoding and locale stands as ``<options>``."""
        return (
            *(() if into.drill else (self._ask(into),)),
            self._read(into.directory, "--list"),
            self._read(into.directory, f"--use-list={into.directory}/database.toc", "--file=-"),
            self._psql(self.maintenance_database, words.CREATE, token=into.token, options="<options>"),
            self._restore(into),
            self._psql(into.token, words.ANALYZE),
        )

    def load(self, host: Host, into: Destination, secrets: Secrets) -> Restored | Failure:
        """Create a database called like the destination's token, in the place of a half-filled one, and fill it.

        A drill leaves out owners, grants, subscriptions and tablespaces, and touches no role and no other database.
        A database that this restore has put in the live one's place already is what is given, and is not touched.
        """
        if (refusal := foreign(into)) is not None:
            return refusal
        if not into.drill:
            state = self._state(host, into, secrets)
            if isinstance(state, Failure):
                return state
            if state.done:
                return Restored(host=host.name, name=self.database, facts={"database": self.database, "swapped": True})
        into = into.model_copy(update={"directory": absolute(host, into.directory)})
        archive = self._archive(host, into)
        if isinstance(archive, Failure):
            return archive
        steps = [
            (
                f"creating database {into.token}",
                self._psql(self.maintenance_database, words.CREATE, token=into.token, options=archive.options),
            ),
            (f"pg_restore into {into.token}", self._restore(into)),
            (f"ANALYZE of {into.token}", self._psql(into.token, words.ANALYZE)),
        ]
        if not into.drill and archive.statements:
            settle = self._psql(self.maintenance_database, archive.statements)
            steps.insert(2, (f"owner, settings and grants of {into.token}", settle))
        for what, command in steps:
            done = self._run(host, command, secrets)
            if not done.ok:
                return self._failed(done, what, into)
        facts: dict[str, Json] = {"database": self.database, **json.loads(done.text.strip().splitlines()[-1])}
        if self.globals:
            facts["globals"] = f"{into.directory}/{_GLOBALS}/globals.sql"
        return Restored(host=host.name, name=into.token, facts=facts)

    def verify(self, host: Host, restored: Restored, expect: Expectation, secrets: Secrets) -> Evidence | Failure:
        """Count the rows of every table, and check with amcheck that every B-tree index holds exactly them.

        Level ``restored``: the fact ``skipped`` names what was not looked at.
        """
        done = self._run(host, self._psql(restored.name, words.COUNT), secrets)
        if not done.ok:
            return self._failed(done, f"counting the rows of {restored.name}")
        try:
            first, *rest = [json.loads(line) for line in done.text.splitlines() if line]
            tables = {str(name): int(rows) for name, rows in rest}
            about: dict[str, Json] = dict(first)
        except (ValueError, TypeError):
            return Failure(why=f"counting the rows of {restored.name} on {host.name} gave no report")
        facts: dict[str, Json] = {
            "tables": tables,
            "rows": sum(tables.values()),
            "bytes": about.get("bytes"),
            "server_version": about.get("server_version"),
        }
        skipped: list[Json] = ["rows were counted, not compared with the source"]
        if (missing := unmet(tables, expect.tables)) is not None:
            return missing.model_copy(update={"facts": facts})
        installed = about.get("installed")
        if about.get("superuser") and (installed or about.get("amcheck")):
            checked = self._check_indexes(host, restored.name, str(installed) if installed else None, secrets)
            if isinstance(checked, Failure):
                return checked.model_copy(update={"facts": facts})
            facts["indexes_checked"] = checked
        else:
            reason = "needs a superuser" if installed or about.get("amcheck") else "is not installed on this host"
            skipped.append(f"indexes were not checked: amcheck {reason}")
        return Evidence(facts={**facts, "skipped": skipped}, level=ProofLevel.RESTORED)

    def discard(self, host: Host, into: Destination, secrets: Secrets) -> Failure | None:
        """Drop the database called like the destination's token, with everybody connected to it."""
        if (refusal := foreign(into)) is not None:
            return refusal
        done = self._run(host, self._psql(self.maintenance_database, words.DROP, token=into.token), secrets)
        return None if done.ok else self._failed(done, f"dropping database {into.token}")

    def swap(self, host: Host, restored: Restored, into: Destination, secrets: Secrets) -> Evidence | Failure:
        """Rename the live database to ``NAME_before_…`` and the restored one to NAME, in one transaction.

        Everybody connected to either is thrown out. Facts: ``live``, and ``kept`` (None: there was no live one).
        """
        if (refusal := foreign(into)) is not None:
            return refusal
        state = self._state(host, into, secrets)
        if isinstance(state, Failure):
            return state
        if state.done:
            return Evidence(facts={"live": self.database, "kept": state.kept if state.kept in state.notes else None})
        if into.token not in state.notes:
            return Failure(why=f"no restored database {into.token}; nothing was renamed", hint="restore it again")
        if state.kept in state.notes:
            return Failure(
                why=f"{state.kept} is there already; nothing was renamed",
                hint=f"rename or drop it on {host.name} first",
            )
        live = self.database in state.notes
        names = {"live": self.database, "kept": state.kept, "token": into.token}
        note = state.notes[into.token] or ""
        if not note.endswith(state.mark):
            names["note"] = f"{note}\n{state.mark}".lstrip()
        failure = self._exchange(host, names, live=live, secrets=secrets)
        return failure or Evidence(facts={"live": self.database, "kept": state.kept if live else None})

    def _state(self, host: Host, into: Destination, secrets: Secrets) -> "_State | Failure":
        """Which of the live, the kept and the restored database there are."""
        asked = self._run(host, self._ask(into), secrets)
        if not asked.ok:
            return self._failed(asked, f"looking at the databases on {host.name}")
        mark = f"restored by drorch as {into.token}"
        notes: dict[str, str | None] = json.loads(asked.text)
        done = into.token not in notes and (notes.get(self.database) or "").endswith(mark)
        return _State(kept=self._kept(into), mark=mark, notes=notes, done=done)

    def _ask(self, into: Destination) -> Command:
        names = {"live": self.database, "kept": self._kept(into), "token": into.token}
        return self._psql(self.maintenance_database, words.STATE, **names)

    def _kept(self, into: Destination) -> str:
        """What the old live database is called after a swap; cut where PostgreSQL would cut it."""
        ending = f"_before_{suffix(into)}"
        return self.database.encode()[: _NAME_BYTES - len(ending)].decode(errors="ignore") + ending

    def _exchange(self, host: Host, names: Mapping[str, str], *, live: bool, secrets: Secrets) -> Failure | None:
        """Mark the restored database, so that it is known under its new name too, and rename."""
        what = f"renaming {names['token']} to {self.database}"
        if "note" in names:
            marked = self._run(host, self._psql(self.maintenance_database, words.MARK, **names), secrets)
            if not marked.ok:
                return self._failed(marked, what)
        close = "true" if live else "false"
        done = self._run(host, self._psql(self.maintenance_database, words.EXCHANGE, close=close, **names), secrets)
        if done.ok:
            return None
        if live:
            self._run(host, self._psql(self.maintenance_database, words.REOPEN, **names), secrets)
        return self._failed(done, what)

    def _check_indexes(self, host: Host, name: str, installed: str | None, secrets: Secrets) -> int | Failure:
        done = self._run(
            host,
            self._psql(
                name,
                words.CHECK_INDEXES,
                missing="false" if installed else "true",
                schema=installed or "drorch_amcheck",
            ),
            secrets,
        )
        if not done.ok:
            return self._failed(done, f"amcheck of {name}")
        return len(done.text.splitlines())

    def _archive(self, host: Host, into: Destination) -> words.Archive | Failure:
        """What the dump says of the database as a whole."""
        listed = host.run(self._read(into.directory, "--list"))
        if not listed.ok or listed.truncated:
            return self._failed(listed, f"reading the restored dump on {host.name}", into)
        contents = f"{into.directory}/database.toc"
        host.put(contents, words.database_entries(listed.text).encode())
        printed = host.run(self._read(into.directory, f"--use-list={contents}", "--file=-"))
        if not printed.ok or printed.truncated:
            return self._failed(printed, f"reading the restored dump on {host.name}", into)
        archive = words.read_archive(printed.text, into.token)
        return archive or Failure(
            why="the restored dump does not say how its database was created", hint="was it made by pg_dump?"
        )

    def _read(self, directory: str, *flags: str) -> Command:
        """Ask the dump itself; no server, so the login user can."""
        program = f"{self.binaries}/pg_restore" if self.binaries else "pg_restore"
        argv = (program, "--create", *flags, f"{directory}/{_PART}/{_DUMP}")
        return Command(argv, env={"LC_MESSAGES": "C"}, output_limit=_REPORT_LIMIT)

    def _restore(self, into: Destination) -> Command:
        file = f"{into.directory}/{_PART}/{_DUMP}"
        flags = ["--exit-on-error", "--no-password", f"--dbname={into.token}"]
        if into.drill:
            flags += ["--no-owner", "--no-privileges", "--no-tablespaces", "--no-comments"]
            flags += ["--no-publications", "--no-subscriptions", "--no-security-labels"]
        argv = (*self._tool("pg_restore"), *flags)
        if self.run_as:  # that account cannot enter our folder, but may read what is opened for it
            return Command(("sh", "-c", _FROM_FILE, "sh", file, *argv), env=self._env(None))
        return Command((*argv, f"--jobs={self.jobs}", file), env=self._env(None))

    def _psql(self, database: str, script: str, **values: str) -> Command:
        argv = (
            *self._tool("psql"),
            *("--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"),
            *(f"--set={name}={value}" for name, value in values.items()),
            "--file=-",
        )
        env = {**self._env(database), "PGCLIENTENCODING": "UTF8"}
        return Command(argv, env=env, stdin=script.encode(), output_limit=_REPORT_LIMIT)

    def _tool(self, program: str) -> tuple[str, ...]:
        name = f"{self.binaries}/{program}" if self.binaries else program
        if self.run_as:
            return ("sudo", "-n", f"--preserve-env={_KEPT_ENV}", f"--user={self.run_as}", "--", name)
        return (name,)

    def _env(self, database: str | None) -> dict[str, str]:
        """Only what the source says: the rest is each host's own."""
        said = {"PGUSER": self.user, "PGHOST": self.address, "PGPORT": str(self.port) if self.port else None}
        env = {name: value for name, value in said.items() if value is not None}
        if database is not None:
            env["PGDATABASE"] = database  # unlike an argument, never read as a connection string
        return {**env, "PGAPPNAME": "drorch", "PGCONNECT_TIMEOUT": "15", "LC_MESSAGES": "C"}

    def _run(self, host: Host, command: Command, secrets: Secrets) -> Completed:
        env: Mapping[str, str | Secret] = command.env
        if self.password:
            env = {**env, "PGPASSWORD": secrets.get(self.password)}
        return host.run(Command(command.argv, env=env, stdin=command.stdin, cwd="/", output_limit=command.output_limit))

    def _failed(self, done: Completed, what: str, into: Destination | None = None) -> Failure:
        """The failure, with PostgreSQL's own remedy."""
        hint = words.remedy(done.errors)
        if into is not None and words.MISSING_ROLE.search(done.errors):
            place = f"{into.directory}/{_GLOBALS}/globals.sql"
            hint = f"create the roles on this host first, from {place}" if self.globals else "create the roles first"
        if done.truncated and done.ok:
            return Failure(why=f"{what}: more output than can be judged", hint="please report it")
        unreachable = done.exit_code == _NO_CONNECTION and "connection to server" in done.errors
        return done.failure(what, hint=hint, retryable=unreachable or "being accessed by other users" in done.errors)


@dataclass(frozen=True, slots=True)
class _State:
    """How far a swap is."""

    kept: str
    """What the old live database is, or will be, called."""
    mark: str
    """How the comment of a database ends that this restore has put, or is about to put, in the live one's place."""
    notes: Mapping[str, str | None]
    """The comments of the databases that exist."""
    done: bool
