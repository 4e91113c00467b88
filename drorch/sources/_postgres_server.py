"""A PostgreSQL server on whatever host it runs: its programs, its files, its account."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from drorch.core.evidence import Failure
from drorch.core.host import Command, Completed, Ended, Host
from drorch.core.model import Frozen, HostName, SecretRef
from drorch.core.secret import Secret, Secrets
from drorch.core.step import Tools
from drorch.hosts.units import UnitName
from drorch.sources import _postgres as words
from drorch.sources._places import Word

CONNECT = 5
"""Seconds within which a server must take a connection."""
PATIENCE = 15.0
"""Seconds within which it must answer a question."""
_OUTPUT = 16 << 20
_KEPT = (
    "PGHOST,PGHOSTADDR,PGPORT,PGUSER,PGDATABASE,PGSSLMODE,PGSSLROOTCERT,PGAPPNAME,PGPASSWORD,PGCLIENTENCODING,"
    "PGCONNECT_TIMEOUT,LC_ALL,TZ"
)
_AS = f"""
account=$1 folder=$2 name=$3
shift 3
case $name in
/*) ;;
*)
    found=
    for each in /usr/pgsql-*/bin /usr/lib/postgresql/*/bin "$folder"; do
        [ ! -x "$each/$name" ] || found=$each/$name
    done
    name=${{found:-$name}}
    ;;
esac
[ -n "$account" ] || exec "$name" "$@"
me=$(id -un)
[ "$me" != "$account" ] || exec "$name" "$@"
[ "$me" = root ] || exec sudo -n --preserve-env={_KEPT} --user="$account" -- "$name" "$@"
home=$(getent passwd "$account") || {{
    echo "no account $account" >&2
    exit 125
}}
home=${{home%:*}}
export HOME="${{home##*:}}"
exec setpriv --reuid="$account" --regid="$(id -g "$account")" --init-groups -- "$name" "$@"
"""
"""Becomes a program of PostgreSQL, as its account. Without a folder, the newest of the usual places, then the PATH."""

_ADDRESS = r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?$|^[0-9a-fA-F:]+$"

HostPlace = Annotated[str, StringConstraints(pattern=r"^/[^\x00\n]*[^/\x00\n]$")]
"""An absolute path of a host, with no slash at its end."""
Address = Annotated[str, StringConstraints(pattern=_ADDRESS)]
"""A name or an IP address, with or without a port: ``10.0.0.1``, ``db1:5433``, ``[fd00::1]:5433``."""


def _not_ours(key: str) -> str:
    if key in {"host", "hostaddr", "port", "user", "password", "dbname"}:
        raise ValueError("is said elsewhere in `replica`")
    return key


ConninfoKey = Annotated[str, StringConstraints(pattern=r"^[a-z_]+$"), AfterValidator(_not_ours)]


class Replica(Frozen):
    """How a standby follows a PostgreSQL server, and how the servers are stopped and started."""

    user: Word
    """The role as which a standby connects: it needs REPLICATION, and for `pg_rewind` either to be a superuser or the
    right to execute pg_ls_dir, pg_stat_file and pg_read_binary_file. Both servers' pg_hba.conf must let it in."""
    password: SecretRef | None = None
    """That role's password, as ``{secret: NAME}``; kept for the standby in a file of its data folder, mode 0600. What
    the account's own ``~/.pgpass`` says unless said."""
    unit: UnitName | None = None
    """The server's systemd unit on every host, such as ``postgresql@15-main``; without it ``pg_ctl`` starts and
    stops the server whose folder `data` is."""
    admin: Word | None = None
    """A superuser's role, as which drorch asks, promotes and rejoins; the source's `user` unless said."""
    account: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\$?$")] | None = None
    """The system account that the server runs as; the source's `run_as`, or ``postgres``, unless said."""
    data: HostPlace | None = None
    """Its data folder; asked of the server, or read from the unit and the settings of a stopped one, unless said."""
    config: HostPlace | None = None
    """Its ``postgresql.conf``, where that does not lie in the data folder; found as Debian places it unless said."""
    kept: HostPlace | None = None
    """Folder on the data's disk for data folders that were replaced; beside the data folder unless said."""
    conninfo: dict[ConninfoKey, Word] = Field(default_factory=dict)
    """Further parameters of the connection to the leader, such as ``{sslmode: verify-full}``; no passwords."""
    slot: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,63}$")] | None = None
    """Name of the replication slot of whichever server follows; ``drorch_HOST`` unless said."""
    addresses: dict[HostName, Address] = Field(default_factory=dict)
    """Where a server reaches the one on another host, such as ``{web1: 10.0.0.1}`` or ``{web1: "10.0.0.1:5433"}``; the
    host's own address unless said."""
    cluster: Annotated[str, StringConstraints(pattern=r"^\d{1,20}$")] | None = None
    """The system identifier that all copies of this database have, as pg_controldata prints it; others are refused."""

    def slot_of(self, host: str) -> str:
        """The slot of the server on that host, while it follows."""
        return self.slot or re.sub(r"[^a-z0-9_]", "_", f"drorch_{host}")[:63]


class Endpoint(Frozen):
    """Where a server listens, as another reaches it."""

    address: str
    port: int

    @classmethod
    def read(cls, text: str, port: int) -> "Endpoint":
        """From ``10.0.0.1``, ``db1:5433`` or ``[fd00::1]:5433``."""
        found = re.fullmatch(_ADDRESS, text)
        if found is None or not found[1]:
            return cls(address=text, port=port)
        return cls(address=found[1].strip("[]"), port=int(found[2] or port))

    def conninfo(self, replica: Replica, **more: str) -> str:
        """Connection parameters for PostgreSQL's tools, each value quoted; no password."""
        said = {"host": self.address, "port": str(self.port), "user": replica.user}
        said |= {"connect_timeout": str(CONNECT), **replica.conninfo, **more}
        quoted = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in said.items()}
        return " ".join(f"{key}='{value}'" for key, value in quoted.items())


class Server(Frozen):
    """What a source says of its server, the same on every host."""

    replica: Replica
    database: str
    """A database to connect to."""
    user: str | None = None
    address: str | None = None
    port: int | None = None
    password: SecretRef | None = None
    run_as: str | None = None
    binaries: str | None = None

    @property
    def account(self) -> str:
        """Whom the server's files belong to."""
        return self.replica.account or self.run_as or "postgres"

    def command(
        self,
        name: str,
        *args: str,
        env: Mapping[str, str | Secret] | None = None,
        stdin: bytes | Secret | None = None,
        timeout: float | None = PATIENCE,
        binaries: str | None = None,
        account: str | None = None,
    ) -> Command:
        """A program of PostgreSQL, or any other, as the account that the server's files belong to."""
        argv = ("sh", "-c", _AS, "drorch", self.account if account is None else account)
        return Command(
            (*argv, binaries or self.binaries or "", name, *args),
            env={"LC_ALL": "C", "TZ": "UTC", **(env or {})},
            stdin=stdin,
            timeout=timeout,
            cwd="/",
            output_limit=_OUTPUT,
        )

    def script(self, host: Host, text: str, *args: str, timeout: float | None = PATIENCE) -> Completed:
        """Run a fixed script as that account."""
        return host.run(self.command("/bin/sh", "-c", text, "drorch", *args, timeout=timeout))

    def env(self, database: str | None = None) -> dict[str, str]:
        """How the server on this host is reached from it."""
        said = {
            "PGUSER": self.replica.admin or self.user,
            "PGHOST": self.address,
            "PGPORT": str(self.port) if self.port else None,
        }
        return {
            **{name: value for name, value in said.items() if value is not None},
            **({"PGDATABASE": database} if database else {}),
            "PGAPPNAME": "drorch",
            "PGCONNECT_TIMEOUT": str(CONNECT),
        }

    def sql(
        self,
        host: Host,
        secrets: Secrets,
        text: str,
        *,
        timeout: float = PATIENCE,
        values: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a fixed script of psql; values are its variables, which psql itself quotes."""
        more: dict[str, str | Secret] = {**self.env(self.database), "PGCLIENTENCODING": "UTF8"}
        if self.password:
            more["PGPASSWORD"] = secrets.get(self.password)
        # Whoever has a password comes in as anybody; all others as the account that the server trusts.
        account = "" if self.password else (self.run_as or "")
        return host.run(
            self.command(
                "psql",
                *("--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"),
                *(f"--set={name}={value}" for name, value in (values or {}).items()),
                "--file=-",
                env=more,
                stdin=text.encode(),
                timeout=timeout,
                account=account,
            )
        )

    def unanswered(self, done: Completed, what: str) -> Failure:
        """The failure of a question: whatever is not known is said to be unknown."""
        if done.ended is not Ended.EXITED:
            return done.failure(
                what, hint="does the server hang? a database that does not answer is not stopped", retryable=True
            ).model_copy(update={"unknown": True})
        early = any(
            sign in done.errors for sign in ("starting up", "shutting down", "not yet accepting", "recovery mode")
        )
        failure = done.failure(what, hint=words.remedy(done.errors), retryable=early or no_connection(done))
        return failure.model_copy(update={"unknown": early or no_connection(done)})

    def endpoint(self, host: str, address: str) -> Endpoint:
        """Where the server on a host is reached from another one."""
        return Endpoint.read(self.replica.addresses.get(host, address), self.port or 5432)

    def leader_env(self, secrets: Secrets) -> dict[str, str | Secret]:
        """The password for the leader, where one is said."""
        return {"PGPASSWORD": secrets.get(self.replica.password)} if self.replica.password else {}


def no_connection(done: Completed) -> bool:
    """Whether psql said that nobody took the connection."""
    return done.exit_code == 2 and "connection to server" in done.errors  # noqa: PLR2004 - psql's code for this


def time_left(tools: Tools, most: float) -> float:
    """Seconds that a command may take: at most so many, and not beyond the attempt's deadline."""
    return max(1.0, min(most, tools.deadline.remaining()))


def shown(text: str) -> str:
    """A value as a word of a configuration file, in quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
