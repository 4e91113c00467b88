"""HAProxy's runtime API: how its socket is spoken to on a host, and pure readers of what it answers.

The socket is plain text without status codes: silence is success for a change, and any other word is a failure.
"""

import csv
import re
from dataclasses import dataclass

from drorch.core.evidence import Failure
from drorch.core.host import Command, Completed, Host, printable

PATIENCE = 10.0
"""Seconds that one conversation may take."""

TALK = r"""
talk() {
    if perl -MSocket -e 1 2>/dev/null; then
        perl -MSocket -e '
            socket(S, PF_UNIX, SOCK_STREAM, 0) and connect(S, sockaddr_un($ARGV[0])) or die "$!\n";
            select(S); $| = 1; print $ARGV[1], "\n"; select(STDOUT);
            print while <S>;' -- "$1" "$2" || return 3
    elif command -v python3 >/dev/null 2>&1; then
        python3 -c '
import socket, sys
try:
    door = socket.socket(socket.AF_UNIX)
    door.connect(sys.argv[1])
    door.sendall((sys.argv[2] + "\n").encode())
    while data := door.recv(65536):
        sys.stdout.buffer.write(data)
except OSError as error:
    sys.exit(error.strerror)' "$1" "$2" || return 3
    elif command -v socat >/dev/null 2>&1; then
        printf '%s\n' "$2" | socat -t 10 - "UNIX-CONNECT:$1,shut-none" || return 3
    else
        return 4
    fi
}
"""
"""A shell function that says ``$2`` to the socket ``$1`` and prints the answer: with Perl, which every Debian and
Ubuntu has, or Python, which every Red Hat has, or socat. It returns 3 when nothing can be said, 4 when none is there.
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of ``show stat``: a server, or all of a frontend or backend."""

    name: str
    status: str
    """As HAProxy words it: ``UP``, ``no check``, ``DOWN``, ``MAINT``, ``DRAIN``, ``UP 1/3``, ``OPEN``, …"""
    sessions: int
    queued: int
    requests: int
    """Since HAProxy started."""
    backup: bool
    address: str
    """Empty where the socket may not show it."""
    check: str
    """What the last health check said."""

    @property
    def told_to_serve(self) -> bool:
        """Whether HAProxy may send customers there, be it up or down."""
        return not self.status.startswith(("MAINT", "DRAIN", "NOLB"))

    @property
    def serves(self) -> bool:
        """Whether it does."""
        return self.status.startswith("UP") or self.status == "no check"

    @property
    def untried(self) -> bool:
        """Whether HAProxy takes it for up only until its first health check is over."""
        return self.check.removeprefix("* ").startswith("INI")


_STATUS = re.compile(r"^(UP|DOWN|NOLB|MAINT|DRAIN|no check|OPEN|FULL|STOP|PAUSED|WAITING)( .*)?$")


@dataclass(frozen=True, slots=True)
class Socket:
    """The socket of an HAProxy."""

    host: Host
    path: str

    def table(self, what: str, *, after: str = "") -> list[tuple[str, Line]] | Failure:
        """The rows of a ``show stat``, after an order if there is one: both in one conversation."""
        answer = self.say("; ".join(word for word in (after, what) if word))
        if isinstance(answer, Failure):
            return answer
        said, mark, table = answer.partition("# pxname,")
        failure = refused(said, self.host.name, self.path)
        if failure is not None:
            return failure
        try:
            return stat(mark + table)
        except ValueError as error:
            return Failure(
                why=f"HAProxy on {self.host.name} answers what drorch does not understand: {error}",
                hint="is this HAProxy's socket, and no other program's?",
            )

    def say(self, words: str) -> str | Failure:
        """One line; the answer, whatever it is."""
        done = self.run(TALK + 'talk "$1" "$2"\n', words)
        return trouble(done, self.host.name, self.path) or done.text

    def may_change(self, backend: str) -> Failure | None:
        """Why servers cannot be changed; found by changing one that there cannot be."""
        said = self.say(f"set server {backend}/:none: state ready")
        if isinstance(said, Failure):
            return said
        return None if said.strip() == "No such server." else refused(said or "nothing", self.host.name, self.path)

    def run(self, script: str, *words: str) -> Completed:
        """A script about this socket, whose path is its ``$1``."""
        return self.host.run(Command(("/bin/sh", "-c", script, "drorch", self.path, *words), timeout=PATIENCE))


def trouble(done: Completed, host: str, socket: str) -> Failure | None:
    """Why nothing could be said; None when there was an answer."""
    if done.ok and not done.truncated:
        return None
    if done.ok:
        return Failure(why=f"HAProxy on {host} said more than can be read", hint="is this HAProxy's socket?")
    if done.exit_code == 4:  # noqa: PLR2004 - the script's own
        return Failure(
            why=f"nothing on {host} can speak to {socket}: it has no perl, no python3 and no socat",
            hint=f"install socat on {host}",
        )
    if done.exit_code == 3:  # noqa: PLR2004 - the script's own
        return _closed(done.errors, host, socket)
    return done.failure(f"asking HAProxy on {host}", hint="look at the edge before trying again", retryable=True)


def _closed(said: str, host: str, socket: str) -> Failure:
    hints = {
        "Permission denied": f"let the user of {host} in: root, or the group that `stats socket {socket}` names",
        "No such file": f"say `stats socket {socket} mode 660 level admin` in haproxy.cfg, or correct `socket:`",
        "Connection refused": f"HAProxy does not run on {host}, or was killed: start it",
    }
    hint = next((hint for word, hint in hints.items() if word in said), "look at the edge before trying again")
    words = said.splitlines()[-1] if said else "it says nothing"
    return Failure(why=f"HAProxy's socket {socket} on {host} cannot be used: {words}", hint=hint, retryable=True)


def refused(text: str, host: str, socket: str) -> Failure | None:
    """Why a change was refused: anything that HAProxy says to one; None when it said nothing."""
    said = printable(text.strip())
    if not said:
        return None
    hint = "nothing is known of what it did; look at the edge before trying again"
    if "Permission denied" in said:
        hint = f"the socket {socket} may only look: say `level admin` behind it in haproxy.cfg"
    return Failure(why=f"HAProxy on {host} refused: {said.splitlines()[0][:300]}", hint=hint)


def stat(text: str) -> list[tuple[str, Line]]:
    """The rows of ``show stat``, each with its proxy's name.

    Raises:
        ValueError: it is no such table, or has a status that is not known.
    """
    if not text.startswith("# pxname,"):
        raise ValueError(f"no table: {printable(text.strip())[:200]!r}")
    return [_line(row) for row in csv.DictReader(text[2:].strip().splitlines())]


def _line(row: dict[str, str]) -> tuple[str, Line]:
    try:
        status = row["status"]
        if not _STATUS.match(status):
            raise ValueError(f"{row['svname']} has the status {printable(status)!r}, which drorch does not know")
        line = Line(
            name=row["svname"],
            status=status,
            sessions=int(row["scur"] or 0),
            queued=int(row["qcur"] or 0),
            requests=int(row.get("req_tot") or row["stot"] or 0),
            backup=row["bck"] == "1" and row["act"] != "1",
            address=row.get("addr") or "",
            check=" ".join(word for word in (row.get("check_status"), row.get("last_chk")) if word),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"a row without {error}") from None
    return row["pxname"], line
