"""PostgreSQL's words: fixed psql scripts, and pure readers of what its tools print.

Values reach the scripts as psql variables, which psql itself quotes (``:"name"`` an identifier, ``:'name'`` a literal).
"""

import re
from dataclasses import dataclass

DROP = r"""
SET statement_timeout = 0;
SELECT current_setting('server_version_num')::int >= 130000 AS force \gset
\if :force
DROP DATABASE IF EXISTS :"token" WITH (FORCE);
\else
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :'token' AND pid <> pg_backend_pid();
DROP DATABASE IF EXISTS :"token";
\endif
"""
"""Removes the database ``token``, with everybody connected to it; nothing there is success."""

CREATE = (
    DROP
    + r"""
CREATE DATABASE :"token" TEMPLATE template0 :options;
"""
)
"""An empty ``token``, in the place of a former one. ``options`` is what `read_archive` gave."""

ANALYZE = r"""
SET statement_timeout = 0;
ANALYZE;
SELECT json_build_object(
  'bytes', pg_database_size(current_database()),
  'server_version', current_setting('server_version')
);
"""

COUNT = r"""
SET statement_timeout = 0;
SET row_security = off;
SET search_path = pg_catalog;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT json_build_object(
  'bytes', pg_database_size(current_database()),
  'server_version', current_setting('server_version'),
  'amcheck', EXISTS (SELECT FROM pg_available_extensions WHERE name = 'amcheck'),
  'installed', (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                WHERE e.extname = 'amcheck'),
  'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
);
SELECT format(
  'SELECT json_build_array(%L::text, count(*)) FROM %s %I.%I',
  n.nspname || '.' || c.relname, CASE c.relkind WHEN 'r' THEN 'ONLY' ELSE '' END, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE ((c.relkind = 'r' AND NOT c.relispartition) OR (c.relkind = 'p' AND NOT c.relispartition))
  AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
\gexec
COMMIT;
"""
"""First line: an object of facts; then one array per user table: name, exact number of rows (partitions in theirs)."""

CHECK_INDEXES = r"""
SET statement_timeout = 0;
BEGIN;
\if :missing
CREATE SCHEMA drorch_amcheck;
CREATE EXTENSION amcheck SCHEMA drorch_amcheck;
\endif
SELECT format('SELECT %L::int, %I.bt_index_check(%s::regclass, true)', 1, :'schema', c.oid)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am a ON a.oid = c.relam
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisready AND i.indisvalid
ORDER BY c.oid
\gexec
ROLLBACK;
"""
"""One line per B-tree index that was found to hold exactly its table's rows; leaves nothing, not even the extension."""

STATE = r"""
SELECT coalesce(json_object_agg(datname, shobj_description(oid, 'pg_database')), '{}')
FROM pg_database WHERE datname IN (:'live', :'kept', :'token');
"""
"""Which of the three there are, each with its comment."""

MARK = r"""
COMMENT ON DATABASE :"token" IS :'note';
"""

EXCHANGE = r"""
\if :close
ALTER DATABASE :"live" ALLOW_CONNECTIONS false;
\endif
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname IN (:'live', :'token') AND backend_type = 'client backend' AND pid <> pg_backend_pid();
BEGIN;
\if :close
ALTER DATABASE :"live" RENAME TO :"kept";
ALTER DATABASE :"kept" ALLOW_CONNECTIONS true;
\endif
ALTER DATABASE :"token" RENAME TO :"live";
COMMIT;
"""
"""Both renames or none. Nobody new gets into the live one meanwhile; `REOPEN` takes that back if the renames failed."""

REOPEN = r"""
ALTER DATABASE :"live" ALLOW_CONNECTIONS true;
"""

_DATABASE_ENTRY = re.compile(
    r"^\d+; \d+ \d+ (?:DATABASE - |DATABASE PROPERTIES - |(?:ACL|COMMENT|SECURITY LABEL) - DATABASE )"
)
_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)'
_LITERAL = r"'(?:[^']|'')*'"
_REST = rf"(?:[^;'\"\\\n]|{_LITERAL}|\"(?:[^\"]|\"\")*\")*"
_CREATED = re.compile(
    rf"^CREATE DATABASE (?P<name>{_IDENTIFIER}) WITH TEMPLATE = template0(?P<options>{_REST});$", re.MULTILINE
)
_OPTION = re.compile(
    rf" (ENCODING|LOCALE_PROVIDER|LOCALE|LC_COLLATE|LC_CTYPE|ICU_LOCALE|ICU_RULES|BUILTIN_LOCALE) = ({_LITERAL}|[a-z]+)"
)


@dataclass(frozen=True, slots=True)
class Archive:
    """What a dump says of the database as a whole, beyond its contents."""

    options: str
    """For CREATE DATABASE: encoding and locale, without owner and tablespace."""
    statements: str
    """Owner, settings and grants of the database, as SQL about the new name."""


def database_entries(listing: str) -> str:
    """The lines of ``pg_restore --create --list`` that are about the database as a whole."""
    return "".join(f"{line}\n" for line in listing.splitlines() if _DATABASE_ENTRY.match(line))


def read_archive(text: str, token: str) -> Archive | None:
    """What ``pg_restore --create`` prints for `database_entries`, about a database called ``token`` instead.

    None when no database is created in it.
    """
    created = _CREATED.search(text)
    if created is None:
        return None
    old = re.escape(created["name"])
    about = re.compile(
        rf"^(?P<before>ALTER DATABASE |ALTER ROLE {_IDENTIFIER} IN DATABASE |COMMENT ON DATABASE |"
        rf"(?:GRANT|REVOKE) [A-Z, ]+ ON DATABASE ){old}(?P<after> {_REST};)$",
        re.MULTILINE,
    )
    return Archive(
        options="".join(f" {name} = {value}" for name, value in _OPTION.findall(created["options"])).strip(),
        statements="".join(f'{found["before"]}"{token}"{found["after"]}\n' for found in about.finditer(text)),
    )


REMEDIES = (
    (
        "server version mismatch",
        "pg_dump is older than the server: install the server's version of it and name its folder under `binaries`",
    ),
    ("unsupported version", "the dump was made by a newer pg_dump: install PostgreSQL of at least that version here"),
    ("unrecognized configuration parameter", "the dump comes from a newer PostgreSQL than the server here"),
    ("is not available", "install the package of that extension on this host, as on the primary"),
    ("could not open extension control file", "install the package of that extension on this host, as on the primary"),
    (
        "invalid locale name",
        "generate that locale on this host as on the primary (locale-gen), then restart PostgreSQL",
    ),
    ("permission denied to create database", "give the role CREATEDB, or set `run_as: postgres`"),
    ("password authentication failed", "is the secret under `password` the one of this `user`?"),
    ("no password supplied", "the server wants a password: set `password: {secret: NAME}`, or `run_as: postgres`"),
    ("sudo:", "`run_as` needs a sudoers line on the host: LOGIN ALL=(postgres) NOPASSWD:SETENV: ALL"),
    ("Peer authentication failed", "set `run_as: postgres`, or `address: 127.0.0.1` with a password"),
    ("no pg_hba.conf entry", "let this user in with a line in pg_hba.conf"),
    (
        "connection to server",
        "is PostgreSQL running there? its place is `address` and `port`, or PGHOST and PGPORT under the host's `env`",
    ),
    ("not found", "install PostgreSQL's client programs on the host, or name their folder under `binaries`"),
)
"""What an error of PostgreSQL's tools contains → what to do; the first that fits."""

MISSING_ROLE = re.compile(r'role ".*" does not exist', re.DOTALL)


def remedy(errors: str) -> str:
    """What to do about these errors; empty for no idea."""
    return next((hint for sign, hint in REMEDIES if sign in errors), "")
