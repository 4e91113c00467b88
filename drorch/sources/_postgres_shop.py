"""Data folders of PostgreSQL side by side: what is kept, what is copied anew, what takes the live one's place.

Everything here is a fixed script, safe to repeat wherever a former one was cut. Beside the data folder lie:

- ``NAME.drorch-rejoin``: which folder keeps what was there, from before anything changes until all is done;
- ``NAME.drorch-KEEP/data``: what was there, whole;
- ``NAME.drorch-KEEP/rewinding``: as long as the data folder may be half rewound, and so worth nothing;
- ``NAME.drorch-new``: a copy of the leader, whole; ``….part`` while it is not.
"""

import json
import posixpath
from collections.abc import Mapping

from pydantic import Field

from drorch.core.evidence import Failure
from drorch.core.host import Completed, Host
from drorch.core.model import Frozen, Json
from drorch.core.secret import Secret
from drorch.core.step import Tools
from drorch.sources._postgres_look import Place
from drorch.sources._postgres_server import Server, shown, time_left

_LIMIT = 86_400.0

_STAND = """
data=$1 kept=$2 keep=$3
marker=$kept.drorch-rejoin
if [ -s "$marker" ]; then
    keep=$(sed -n 1p "$marker")
    echo "before=$(sed -n 2p "$marker")"
fi
echo "keep=$keep"
[ ! -d "$kept.drorch-$keep/data" ] || echo "kept=1"
[ ! -e "$kept.drorch-$keep/rewinding" ] || echo "rewinding=1"
[ ! -d "$data.drorch-new" ] || echo "new=1"
[ ! -d "$data" ] || echo "there=1"
[ ! -d "$data" ] || echo "bytes=$(du -sbD -- "$data" | cut -f1)"
[ -z "$(ls -A "$data/pg_tblspc" 2>/dev/null)" ] || echo "tablespaces=1"
near=$kept
while [ ! -d "$near" ]; do near=$(dirname -- "$near"); done
echo "free=$(df --output=avail -B1 -- "$near" | tail -n 1 | tr -d ' ')"
"""
_MARK = """
marker=$1.drorch-rejoin
cat > "$marker.part" && sync "$marker.part" && mv -f -- "$marker.part" "$marker"
"""
_KEEP = """
data=$1 to=$2
[ ! -d "$to/data" ] || exit 0
mkdir -p -m 700 -- "$to" && rm -rf -- "$to/data.part" || exit 1
cp -a --reflink=auto -- "$data" "$to/data.part" || exit 1
if [ -L "$data/pg_wal" ]; then
    rm -- "$to/data.part/pg_wal" || exit 1
    cp -a --reflink=auto -- "$(readlink -f -- "$data/pg_wal")" "$to/data.part/pg_wal" || exit 1
fi
sync -f -- "$to" && mv -- "$to/data.part" "$to/data"
"""
_WRITE = 'mkdir -p -m 700 -- "$1" && cat > "$1/$2.part" && mv -f -- "$1/$2.part" "$1/$2"'
_TAKE_BACK = """
data=$1 to=$2
part=$data.drorch-part
rm -rf -- "$part" && cp -a --reflink=auto -- "$to/data" "$part" && sync -f -- "$part" &&
    rm -rf -- "$data" && mv -- "$part" "$data" && rm -f -- "$to/rewinding"
"""
_RECOVER = """
rm -f -- "$1/standby.signal" "$1/recovery.signal" "$1/drorch.frozen"
exec "$3/postgres" --single -F -D "$1" -c "config_file=$2" template1 < /dev/null
"""
_REWIND = """
data=$1 to=$2 binaries=$3
shift 3
: > "$to/rewinding" && sync "$to/rewinding" || exit 1
"$binaries/pg_rewind" --target-pgdata="$data" --no-ensure-shutdown "$@" && : > "$data/standby.signal" || exit 1
for each in "$to"/data/*.conf; do [ ! -f "$each" ] || cp -p -- "$each" "$data/" || exit 1; done
[ ! -d "$to/data/conf.d" ] || cp -a -- "$to/data/conf.d" "$data/" || exit 1
sync -f -- "$data" && rm -f -- "$to/rewinding"
"""
"""Settings in the data folder are each host's own, but pg_rewind takes the leader's."""
_COPY = """
data=$1 binaries=$2
shift 2
rm -rf -- "$data.drorch-new.part" "$data.drorch-new" || exit 1
"$binaries/pg_basebackup" --pgdata="$data.drorch-new.part" "$@" || exit 1
: > "$data.drorch-new.part/standby.signal" && sync -f -- "$data.drorch-new.part" &&
    mv -- "$data.drorch-new.part" "$data.drorch-new"
"""
_SWAP = """
data=$1 to=$2
[ -d "$data.drorch-new" ] || exit 0
mkdir -p -m 700 -- "$to" || exit 1
if [ -d "$to/data" ]; then
    for each in "$to"/data/*.conf; do [ ! -f "$each" ] || cp -p -- "$each" "$data.drorch-new/" || exit 1; done
    rm -rf -- "$data" || exit 1
elif [ -d "$data" ]; then
    for each in "$data"/*.conf; do [ ! -f "$each" ] || cp -p -- "$each" "$data.drorch-new/" || exit 1; done
    mv -- "$data" "$to/data" || exit 1
fi
rm -f -- "$to/rewinding"
mv -- "$data.drorch-new" "$data"
"""
_FOLLOW = """
cd -- "$1" || exit 1
umask 077
: > standby.signal || exit 1
rm -f recovery.signal drorch.frozen
touch postgresql.auto.conf
grep -v -E '^(primary_conninfo|primary_slot_name|recovery_target[a-z_]*) *=' postgresql.auto.conf > drorch.conf.part
cat >> drorch.conf.part && sync drorch.conf.part && mv -f drorch.conf.part postgresql.auto.conf && sync .
"""
_LOGIN = 'umask 077 && cat > "$1/drorch.pgpass.part" && mv -f -- "$1/drorch.pgpass.part" "$1/drorch.pgpass"'
_DONE = 'rm -f -- "$1.drorch-rejoin"'


class Standing(Frozen):
    """What lies there."""

    keep: str
    """Under what name things are kept: that of an attempt that was cut, or the one asked for."""
    kept: bool = False
    rewinding: bool = False
    new: bool = False
    there: bool = False
    tablespaces: bool = False
    before: dict[str, Json] = Field(default_factory=dict)
    """What an attempt that was cut has done."""
    bytes: int = 0
    free: int = 0


class Workshop(Frozen):
    """The folders around one data folder."""

    server: Server
    data: str
    keep: str

    @property
    def base(self) -> str:
        """What the names beside it begin with."""
        folder = self.server.replica.kept
        return f"{folder}/{posixpath.basename(self.data)}" if folder else self.data

    @property
    def kept(self) -> str:
        """Where what was there is kept."""
        return f"{self.base}.drorch-{self.keep}"

    def stand(self, host: Host) -> Standing | Failure:
        """What lies there now."""
        done = self.server.script(host, _STAND, self.data, self.base, self.keep, timeout=600)
        if not done.ok:
            return done.failure(f"looking at {self.data} on {host.name}")
        said: dict[str, Json] = dict(line.partition("=")[::2] for line in done.text.splitlines())
        return Standing.model_validate({**said, "before": json.loads(said.get("before") or "{}")})

    def mark(self, host: Host, done: Mapping[str, Json]) -> Failure | None:
        """From here on things change; ``done``: what an attempt after a cut must know to say how it came about."""
        text = f"{self.keep}\n{json.dumps(done)}\n"
        command = self.server.command("/bin/sh", "-c", _MARK, "drorch", self.base, stdin=text.encode())
        return self._done(host.run(command), host, f"writing beside {self.data}")

    def preserve(self, tools: Tools, host: Host) -> Failure | None:
        """Keep what is there."""
        return self._done(self._run(tools, host, _KEEP, self.data, self.kept), host, f"keeping {self.data}")

    def write(self, host: Host, name: str, text: str) -> Failure | None:
        """A file beside what is kept."""
        command = self.server.command("/bin/sh", "-c", _WRITE, "drorch", self.kept, name, stdin=text.encode())
        return self._done(host.run(command), host, f"writing {self.kept}/{name}")

    def take_back(self, tools: Tools, host: Host) -> Failure | None:
        """In the place of what is half rewound, what was kept."""
        return self._done(self._run(tools, host, _TAKE_BACK, self.data, self.kept), host, f"taking {self.kept} back")

    def recover(self, tools: Tools, host: Host, place: Place) -> Failure | None:
        """Let a server that was not stopped in order come to its end, open to nobody: pg_rewind asks for that."""
        done = self._run(tools, host, _RECOVER, self.data, place.config, place.binaries)
        return self._done(done, host, "bringing what crashed to its end")

    def rewind(self, tools: Tools, host: Host, place: Place, source: str) -> Completed:
        """Take back what only it has."""
        words = (self.data, self.kept, place.binaries, "--source-server", source)
        return self._with_password(tools, host, _REWIND, *words)

    def copy_leader(self, tools: Tools, host: Host, binaries: str, source: str, slot: str) -> Completed:
        """Copy the leader beside it."""
        flags = ("--dbname", source, "--wal-method=stream", "--checkpoint=fast", "--slot", slot, "--no-password")
        return self._with_password(tools, host, _COPY, self.data, binaries, *flags)

    def swap(self, tools: Tools, host: Host) -> Failure | None:
        """Put the copy into its place; what was there is kept."""
        done = self._run(tools, host, _SWAP, self.data, self.kept)
        return self._done(done, host, f"putting the copy into the place of {self.data}")

    def settle(self, tools: Tools, host: Host, settings: Mapping[str, str]) -> Failure | None:
        """Settings of a standby; the leader's password in a file that only the account can read."""
        password = self.server.replica.password
        if password is not None:
            value = tools.secrets.get(password)
            line = Secret(value.name, f"*:*:*:{_field(self.server.replica.user)}:{_field(value.reveal())}\n")
            command = self.server.command("/bin/sh", "-c", _LOGIN, "drorch", self.data, stdin=line)
            failure = self._done(host.run(command), host, f"writing {self.data}/drorch.pgpass")
            if failure is not None:
                return failure
        lines = "".join(f"{name} = {shown(value)}\n" for name, value in settings.items())
        command = self.server.command("/bin/sh", "-c", _FOLLOW, "drorch", self.data, stdin=lines.encode())
        return self._done(host.run(command), host, f"writing the settings of a standby into {self.data}")

    def finish(self, tools: Tools, host: Host) -> Failure | None:
        """All is done."""
        return self._done(self._run(tools, host, _DONE, self.base), host, f"tidying up beside {self.data}")

    def _run(self, tools: Tools, host: Host, script: str, *words: str) -> Completed:
        return self.server.script(host, script, *words, timeout=time_left(tools, _LIMIT))

    def _with_password(self, tools: Tools, host: Host, script: str, *words: str) -> Completed:
        command = self.server.command(
            *("/bin/sh", "-c", script, "drorch", *words),
            env=self.server.leader_env(tools.secrets),
            timeout=time_left(tools, _LIMIT),
        )
        return host.run(command)

    def _done(self, done: Completed, host: Host, what: str) -> Failure | None:
        if done.ok:
            return None
        full = "No space left" in done.errors
        hint = "the disk is full: remove what was kept before, then retry" if full else "see what it says, then retry"
        denied = "Permission denied" in done.errors
        if denied:
            hint = f"{self.server.account} must be able to write beside the data folder; or say `kept:`"
        return done.failure(f"{what} on {host.name}", hint=hint)


def _field(text: str) -> str:
    """A field of a password file."""
    return text.replace("\\", "\\\\").replace(":", "\\:")
