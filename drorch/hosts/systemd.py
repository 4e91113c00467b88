"""systemd on a host: how its units stand, and the few commands that change them.

A unit that may not start is masked. Where its own file lies in ``/etc/systemd/system``, which is where ``systemctl
mask`` would put the mask, the mask lies in ``/etc/systemd/system.control``, which goes before everything; ``systemctl
unmask`` does not look there, so whoever is told of a fence is told what to type.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from drorch.core.errors import DrorchError
from drorch.core.evidence import Failure
from drorch.core.host import Command, Completed, Host, printable
from drorch.core.model import Json
from drorch.hosts.units import PROPERTIES, Look, Unit, full, listed, read

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

_MASK = 'mkdir -p -m 755 -- "$(dirname -- "$1")" && for mask in "$@"; do ln -sfn /dev/null "$mask" || exit; done'
_UNMASK = 'for mask in "$@"; do [ ! -L "$mask" ] || rm -- "$mask" || exit; done'
_HOME = 'case $1 in "~"|"~/"*) folder=$HOME${1#"~"} ;; *) folder=$1 ;; esac; '
_WRITE = _HOME + 'umask 077; mkdir -p -- "$folder" && cat > "$folder/.$2" && mv -f -- "$folder/.$2" "$folder/$2"'
_READ = _HOME + '[ ! -e "$folder/$2" ] || cat -- "$folder/$2"'


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

    def mask(self, units: Sequence[Unit], *, load: bool = True) -> Failure | None:
        """Let nothing start these any more, also after a reboot. Without ``load`` only the disk is changed: a unit that
        still runs must keep what it knows of how to stop itself.
        """
        names = [unit.id for unit in units if not unit.own]
        masks = [unit.control for unit in units if unit.own]
        if names:
            words = ("mask", *(() if load else ("--no-reload",)), "--", *names)
            done = self.host.run(Command(self.argv(*words), timeout=PATIENCE))
            if not done.ok and "already exists" not in done.errors:
                return done.failure(f"masking {listed(names)} on {self.host.name}", hint=self._rights_hint())
            masks += [] if done.ok else [unit.control for unit in units if not unit.own]
        if masks:
            done = self._script(_MASK, *masks)
            if not done.ok:
                what = f"masking {listed(unit.id for unit in units)} on {self.host.name}"
                return done.failure(what, hint=self._rights_hint(sh=True))
        return self.reload() if masks and load else None  # systemctl mask does that itself

    def unmask(self, units: Sequence[Unit]) -> Failure | None:
        """Let these start again, whoever masked them."""
        masks = [unit.control for unit in units if unit.fragment == unit.control]
        if masks:
            done = self._script(_UNMASK, *masks)
            if not done.ok:
                what = f"unmasking {listed(unit.id for unit in units)} on {self.host.name}"
                return done.failure(what, hint=self._rights_hint(sh=True))
        for where, state in ((("--runtime",), "masked-runtime"), ((), "masked")):
            names = [unit.id for unit in units if unit.file == state and unit.fragment != unit.control]
            if names:
                done = self.host.run(Command(self.argv("unmask", *where, "--", *names), timeout=PATIENCE))
                if not done.ok:
                    return done.failure(f"unmasking {listed(names)} on {self.host.name}", hint=self._rights_hint())
        return self.reload() if masks else None

    def unmasking(self, units: Sequence[Unit]) -> str:
        """What a person types to let these start again."""
        masks = [unit.control for unit in units if unit.own or unit.fragment == unit.control]
        names = [unit.id for unit in units if unit.control not in masks]
        words = [f"systemctl unmask {' '.join(names)}"] if names else []
        words += [f"rm {' '.join(masks)}; systemctl daemon-reload"] if masks else []
        return "; ".join(words)

    def reload(self) -> Failure | None:
        """Have systemd read what is on disk."""
        done = self.host.run(Command(self.argv("daemon-reload"), timeout=PATIENCE * 2))
        return (
            None if done.ok else done.failure(f"systemctl daemon-reload on {self.host.name}", hint=self._rights_hint())
        )

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
