"""Letting a frontend's new connections wait, and go on again.

A frontend that takes no connection leaves them to the kernel's queue: customers wait instead of failing. The limit that
it had before is kept in a file on the edge itself, so that any controller can give it back, and a small program there
gives it back by itself when its time is over.
"""

import hashlib
import re
from dataclasses import dataclass

from drorch.core.evidence import Failure
from drorch.core.host import Command
from drorch.core.step import Tools
from drorch.switches._runtime import PATIENCE, TALK, Line, Socket

_FILE = r"""
case $2 in "~/"*) file=$HOME/${2#"~/"} ;; *) file=$2 ;; esac
"""

HOLD = (
    TALK
    + _FILE
    + r"""
socket=$1 frontend=$3 limit=$4 left=$5 held="$4 $6"
mkdir -p -m 700 "${file%/*}" && printf '%s\n' "$held" >"$file.new" && mv -f "$file.new" "$file" || exit 5
said=$(talk "$socket" "set maxconn frontend $frontend 0") || exit $?
if [ -n "$said" ]; then
    rm -f "$file"
    printf '%s\n' "$said"
    exit 0
fi
(
    trap '' HUP
    while [ "$left" -gt 0 ]; do
        sleep 1
        left=$((left - 1))
        [ "$(cat "$file" 2>/dev/null)" = "$held" ] || exit 0
    done
    talk "$socket" "set maxconn frontend $frontend $limit" && rm -f "$file"
) </dev/null >/dev/null 2>&1 &
"""
)
"""Holds the frontend ``$3`` of the socket ``$1``, whose limit ``$4`` is kept in the file ``$2`` first. After ``$5``
seconds the edge lets go by itself, unless the hold ``$6`` has ended by then.
"""

KEPT = _FILE + '[ ! -e "$file" ] || cat "$file"\n'
"""Prints what the file ``$2`` keeps; nothing when there is none."""

FORGET = _FILE + 'rm -f "$file"\n'

_HELD = re.compile(r"^(\d+) [0-9a-f]+\n$")


@dataclass(frozen=True, slots=True)
class Gate:
    """A frontend that can be held."""

    socket: Socket
    frontend: str
    folder: str
    """Where its limit is kept on the edge meanwhile."""

    def row(self) -> Line | Failure:
        """How it stands; its limit is 0 while it is held."""
        rows = self.socket.table("show stat -1 1 -1")
        if isinstance(rows, Failure):
            return rows
        for name, line in rows:
            if name == self.frontend:
                return line
        return Failure(
            why=f"HAProxy on {self.socket.host.name} has no frontend {self.frontend}",
            hint=f"it has {', '.join(name for name, _ in rows) or 'none'}",
        )

    def hold(self, tools: Tools, seconds: int) -> int | Failure:
        """Hold it; gives the limit that it had. Held already is success, should that limit be known."""
        row = self.row()
        if isinstance(row, Failure):
            return row
        if not row.limit:
            return self._kept()
        mark = hashlib.sha256(f"{tools.run.id} {tools.clock.now().isoformat()}".encode()).hexdigest()[:16]
        done = self.socket.run(HOLD, self._file, self.frontend, str(row.limit), str(seconds), mark)
        return self.socket.silent(done) or row.limit

    def release(self) -> int | Failure | None:
        """Give the limit back; gives it, or None when it was not held."""
        row = self.row()
        if isinstance(row, Failure):
            return row
        limit = None
        if not row.limit:
            limit = self._kept()
            if isinstance(limit, Failure):
                return limit
            failure = self.socket.tell(f"set maxconn frontend {self.frontend} {limit}")
            if failure is not None:
                return failure
            row = self.row()
            if isinstance(row, Failure):
                return row
            if row.limit != limit:
                return Failure(why=f"frontend {self.frontend} was given {limit} connections, and takes {row.limit}")
        done = self.socket.run(FORGET, self._file)
        return limit if done.ok else done.failure(f"ending the hold on {self.socket.host.name}", retryable=True)

    @property
    def _file(self) -> str:
        key = hashlib.sha256(f"{self.socket.path} {self.frontend}".encode()).hexdigest()[:12]
        return f"{self.folder}/held-{key}"

    def _kept(self) -> int | Failure:
        argv = ("/bin/sh", "-c", KEPT, "drorch", self.socket.path, self._file)
        done = self.socket.host.run(Command(argv, timeout=PATIENCE))
        if not done.ok:
            return done.failure(f"reading {self._file} on {self.socket.host.name}", retryable=True)
        found = _HELD.match(done.text)
        if found is None:
            return Failure(
                why=f"frontend {self.frontend} takes no connections, and nothing on {self.socket.host.name} says how"
                " many it took before",
                hint=f"on its socket: set maxconn frontend {self.frontend} N, with the limit of haproxy.cfg",
            )
        return int(found.group(1))
