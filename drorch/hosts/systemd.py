"""systemd on a host: how its units stand, and the few commands that change them.

A unit that *may not start* is masked. Where its own file lies in ``/etc/systemd/system``, which is where a mask would
have to lie, an assertion that never holds does the same; it survives a reboot, and says in words who wrote it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from drorch.core.errors import DrorchError
from drorch.core.evidence import Failure
from drorch.core.host import Command, Completed, Host, printable
from drorch.core.model import Json
from drorch.hosts.units import DROP_IN, OWN_FILES, PROPERTIES, Look, Unit, full, listed, read, short

PATIENCE = 15.0
"""Seconds for a question, and for a change on disk."""
_CLOSURES = 4  # parts of parts
_SAID = 2000  # characters of a journal that a failure quotes

LOOK = r"""
set -f
properties=$1
shift
boot=$(cat /proc/sys/kernel/random/boot_id) || exit 90
shown=$(systemctl show --no-pager --property="$properties" -- "$@") || exit 91
printf 'boot %s\n%s\n\nprocesses\n' "$boot" "$shown"
[ -d /sys/fs/cgroup ] || exit 92
for unit in $(printf '%s\n' "$shown" | sed -n 's/^Id=//p'); do
    name=$(printf '%s' "$unit" | sed 's/\\/\\\\/g')
    tries=0
    until groups=$(find /sys/fs/cgroup -type d \( -name "$name" -o -name "_$name" \) 2>/dev/null) &&
        pids=$(for group in $groups; do find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null || exit; done); do
        tries=$((tries + 1))
        [ "$tries" -le 5 ] || exit 92
    done
    for pid in $pids; do printf '%s %s\n' "$unit" "$pid"; done
done
"""
"""How units stand. Processes are looked for in the control groups themselves, by the unit's name: what a stopped unit
left running is there, whatever systemd says of the unit. A group that vanishes while it is read is read again.
"""

_FORBID = r"""
mkdir -p -m 755 -- "$1" && printf '%s' "$3" > "$1/.drorch" && chmod 644 "$1/.drorch" && mv -f -- "$1/.drorch" "$1/$2"
"""
_ALLOW = 'rm -f -- "$1/$2" && { rmdir -- "$1" 2>/dev/null || :; }'
_HOME = 'case $1 in "~"|"~/"*) folder=$HOME${1#"~"} ;; *) folder=$1 ;; esac; '
_WRITE = _HOME + 'umask 077; mkdir -p -- "$folder" && cat > "$folder/.$2" && mv -f -- "$folder/.$2" "$folder/$2"'
_READ = _HOME + '[ ! -e "$folder/$2" ] || cat -- "$folder/$2"'
_ASSERTION = """\
# Written by drorch: {unit} is fenced and must not start here. To let it start again all the same:
#   rm {path} && systemctl daemon-reload
[Unit]
AssertPathExists=/nonexistent/fenced-by-drorch
"""


@dataclass(frozen=True, slots=True)
class Systemd:
    """systemd of one host."""

    host: Host
    sudo: bool = False
    """Whether changes are made through ``sudo -n``."""

    def argv(self, *words: str) -> tuple[str, ...]:
        """A systemctl command that changes something."""
        return self._rights("systemctl", "--no-ask-password", *words)

    def look(self, names: Sequence[str], *, with_parts: bool = False) -> Look | Failure:
        """How units stand; with their parts behind them, if asked. One that does not exist is in it, as not known.

        Raises:
            Unreachable: no connection could be made.
        """
        asked = tuple(dict.fromkeys(map(full, names)))
        for _ in range(_CLOSURES):
            found = self._look(asked)
            if isinstance(found, Failure) or not with_parts:
                return found
            ids = tuple(dict.fromkeys(unit.id for unit in found.units))
            parts = {part for unit in found.units for part in unit.parts} - set(ids)
            if not parts and len(ids) == len(found.units):
                return found
            asked = (*ids, *sorted(parts))
        return Failure(why=f"the units of {listed(names)} on {self.host.name} are parts of each other without an end")

    def change(self, verb: str, names: Sequence[str], *, timeout: float = PATIENCE) -> Completed:
        """``start``, ``stop``, … units, and wait for its end."""
        return self.host.run(Command(self.argv(verb, "--", *names), timeout=timeout))

    def lacking(self, user: str) -> Failure | None:
        """Why that user may change nothing here; None when it may."""
        if self.sudo:
            done = self.host.run(Command(self.argv("list-jobs", "--no-pager", "-q"), timeout=PATIENCE))
            return None if done.ok else done.failure(f"sudo systemctl on {self.host.name}", hint=self._rights_hint())
        if user == "root":
            return None
        return Failure(why=f"{user} on {self.host.name} is not root", hint=self._rights_hint())

    def hold(self, units: Sequence[Unit], *, load: bool = True) -> Failure | None:
        """Let nothing start these any more, also after a reboot. Without ``load`` only the disk is changed: a unit that
        still runs must keep what it knows of how to stop itself.
        """
        own = [unit for unit in units if unit.fragment == f"{OWN_FILES}/{unit.id}" and not unit.masked]
        masks = [unit.id for unit in units if unit not in own and not unit.masked]
        for unit in own:
            folder = f"{OWN_FILES}/{unit.id}.d"
            text = _ASSERTION.format(unit=unit.id, path=f"{folder}/{DROP_IN}")
            done = self._script(_FORBID, folder, DROP_IN, text)
            if not done.ok:
                what = f"keeping {short(unit.id)} on {self.host.name} from starting"
                return done.failure(what, hint=self._rights_hint(sh=True))
        if masks:
            words = ("mask", *(() if load else ("--no-reload",)), "--", *masks)
            done = self.host.run(Command(self.argv(*words), timeout=PATIENCE))
            if not done.ok:
                return done.failure(f"masking {listed(masks)} on {self.host.name}", hint=self._rights_hint())
        return self._reload() if own and load and not masks else None  # masking has it read everything anew

    def free(self, units: Sequence[Unit]) -> Failure | None:
        """Let these start again, whoever masked them."""
        own = [unit for unit in units if f"{OWN_FILES}/{unit.id}.d/{DROP_IN}" in unit.drop_ins]
        for unit in own:
            done = self._script(_ALLOW, f"{OWN_FILES}/{unit.id}.d", DROP_IN)
            if not done.ok:
                what = f"letting {short(unit.id)} on {self.host.name} start"
                return done.failure(what, hint=self._rights_hint(sh=True))
        unmasked = False
        for where, state in ((("--runtime",), "masked-runtime"), ((), "masked")):
            names = [unit.id for unit in units if unit.file == state]
            if names:
                done = self.host.run(Command(self.argv("unmask", *where, "--", *names), timeout=PATIENCE))
                if not done.ok:
                    return done.failure(f"unmasking {listed(names)} on {self.host.name}", hint=self._rights_hint())
                unmasked = True
        return None if unmasked or not (own or any(unit.stale for unit in units)) else self._reload()

    def freeing(self, units: Sequence[Unit]) -> str:
        """What a person types to let these start again."""
        own = [f"{OWN_FILES}/{unit.id}.d/{DROP_IN}" for unit in units if unit.fragment == f"{OWN_FILES}/{unit.id}"]
        masks = [unit.id for unit in units if unit.fragment != f"{OWN_FILES}/{unit.id}" or unit.masked]
        words = [f"systemctl unmask {' '.join(masks)}"] if masks else []
        words += [f"rm {' '.join(own)}; systemctl daemon-reload"] if own else []
        return "; ".join(words)

    def journal(self, names: Sequence[str]) -> str:
        """The last that units said, for a failure; empty when that cannot be had."""
        chosen = [word for name in names for word in ("-u", full(name))]
        argv = self._rights("journalctl", "--no-pager", "-q", "-o", "cat", "-n", "10", *chosen)
        try:
            done = self.host.run(Command(argv, timeout=PATIENCE, output_limit=1 << 16))
        except DrorchError:
            return ""
        return printable(done.text.strip())[-_SAID:] if done.ok else ""

    def _look(self, asked: tuple[str, ...]) -> Look | Failure:
        done = self.host.run(Command(("/bin/sh", "-c", LOOK, "drorch", ",".join(PROPERTIES), *asked), timeout=PATIENCE))
        what = f"asking {self.host.name} for {listed(asked)}"
        if not done.ok or done.truncated:
            return done.failure(what, hint=f"does {self.host.name} run systemd?", retryable=True)
        try:
            return read(done.text, len(asked))
        except ValueError as error:
            return Failure(why=f"{what}: {error}", hint="is this systemd newer than drorch knows?")

    def _reload(self) -> Failure | None:
        done = self.host.run(Command(self.argv("daemon-reload"), timeout=PATIENCE * 2))
        return None if done.ok else done.failure(f"systemctl daemon-reload on {self.host.name}")

    def _script(self, script: str, *words: str) -> Completed:
        argv = self._rights("/bin/sh", "-c", script, "drorch", *words)
        return self.host.run(Command(argv, timeout=PATIENCE))

    def _rights(self, *words: str) -> tuple[str, ...]:
        return ("sudo", "-n", *words) if self.sudo else words

    def _rights_hint(self, *, sh: bool = False) -> str:
        if not self.sudo:
            return "it needs root: log in as root, or say `sudo: true`"
        return f"let sudo allow {'/bin/sh' if sh else 'systemctl'} without a password"


@dataclass(frozen=True, slots=True)
class Slip:
    """A small file on a host in which a fence notes what it is about to do, so that whoever goes on, from wherever,
    knows it. A full or hanging disk is no reason not to fence: what cannot be noted is not.
    """

    host: Host
    folder: str
    """The host's working folder; ``~/`` is its user's home."""

    def write(self, value: Json) -> None:
        """Keep it in the former one's place."""
        self._run(_WRITE, json.dumps(value).encode())

    def read(self) -> Json:
        """What was noted; None when nothing that can be read was."""
        done = self._run(_READ)
        try:
            return json.loads(done.stdout) if done is not None and done.ok else None
        except ValueError:
            return None

    def _run(self, script: str, stdin: bytes | None = None) -> Completed | None:
        argv = ("/bin/sh", "-c", script, "drorch", self.folder, "fenced.json")
        try:
            return self.host.run(Command(argv, stdin=stdin, timeout=PATIENCE))
        except DrorchError:
            return None
