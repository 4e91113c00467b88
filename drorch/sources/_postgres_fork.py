"""Where two PostgreSQL servers parted, and what only the old one has. Pure, but for the reading of its log."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from drorch.core.evidence import Failure
from drorch.core.host import Command, Completed, Ended, Host
from drorch.core.model import Json
from drorch.sources._postgres_look import Place, position, written
from drorch.sources._postgres_server import Server

LISTED = 1000
"""Transactions that are listed one by one."""
_END = 1 << 64
_COMMIT = re.compile(
    rb"tx:\s*(\d+), lsn: ([0-9A-F]+/[0-9A-F]+).*desc: COMMIT(?:_PREPARED [^:]*:)? ([0-9-]+ [0-9:.]+) UTC"
)


class Fork(NamedTuple):
    """The last point that two servers share."""

    timeline: int
    """The timeline on which they were still one."""
    at: int
    """How far, in bytes of log."""


def branches(history: str, timeline: int) -> tuple[Fork, ...]:
    """A history file's timelines with the position at which each was left; the server's own has no end."""
    lines = [line.split() for line in history.splitlines() if line.strip() and not line.startswith("#")]
    left = [Fork(int(words[0]), position(words[1])) for words in lines]
    return (*(each for each in left if each.timeline != timeline), Fork(timeline, _END))


def fork(leader: tuple[Fork, ...], follower: tuple[Fork, ...]) -> Fork | None:
    """Where they parted: on the newest timeline that both have been on; None when they never were one."""
    common = None
    for one, other in zip(leader, follower, strict=False):
        if one.timeline != other.timeline:
            break
        common = Fork(one.timeline, min(one.at, other.at))
        if one.at != other.at:
            break
    return common


@dataclass
class OnlyHere:
    """Transactions that one server committed after the two had parted."""

    count: int = 0
    first: str = ""
    last: str = ""
    listed: list[str] = field(default_factory=list)
    known: bool = True
    """Whether its log could be read to its end."""

    def line(self, line: bytes) -> None:
        """A line of pg_waldump."""
        found = _COMMIT.search(line)
        if found is None:
            return
        number, at, time = (word.decode() for word in found.groups())
        self.count += 1
        self.first = self.first or f"{time} UTC"
        self.last = f"{time} UTC"
        if self.count <= LISTED:
            self.listed.append(f"{number}\t{time} UTC\t{at}")

    @property
    def text(self) -> str:
        """For the file that is kept."""
        more = f"and {self.count - LISTED} more\n" if self.count > LISTED else ""
        head = "transaction\tcommitted\tposition in its log\n"
        return head + "".join(f"{line}\n" for line in self.listed) + more

    def facts(self) -> dict[str, Json]:
        """For evidence."""
        count = self.count if self.count or self.known else None
        return {"count": count, "first": self.first or None, "last": self.last or None, "known": self.known}


def beyond(server: Server, host: Host, place: Place, start: Fork) -> bool | Failure:
    """Whether its log goes on after that point."""
    if place.phase == "shut down" and place.end is not None and place.timeline == start.timeline:
        return place.end > start.at
    done = host.run(_waldump(server, place, start, segments(server, host, place), "--limit=1"))
    if done.ok and done.text.strip():
        return True
    if done.ended is Ended.EXITED and _ends(done):
        return False
    return done.failure(f"reading the log of PostgreSQL on {host.name} from {written(start.at)}")


def only_here(server: Server, host: Host, place: Place, start: Fork) -> OnlyHere:
    """What it committed after that point, on that timeline and those that it went to from there."""
    found, written_to = OnlyHere(), segments(server, host, place)
    for timeline in range(start.timeline, max(place.timeline, start.timeline) + 1):
        here = Fork(timeline, start.at)
        done = host.run(_waldump(server, place, here, written_to, "--rmgr=Transaction"), on_line=found.line)
        if timeline == start.timeline:
            found.known = done.ok or _ends(done)
    return found


def waited_for(server: Server, host: Host, place: Place) -> str:
    """Its `synchronous_standby_names`, from the settings of the stopped server: whom each of its commits waited for
    before it was acknowledged; empty for nobody, or where it cannot be told.
    """
    words = ("-C", "synchronous_standby_names", "-D", place.data, "-c", f"config_file={place.config}")
    done = host.run(server.command("postgres", *words, binaries=place.binaries))
    return done.text.strip() if done.ok else ""


def _ends(done: Completed) -> bool:
    """Whether it only came to the log's end, which has no other sign than that nothing valid follows."""
    return (
        any(
            sign in done.errors
            for sign in (
                "invalid record length",
                "could not find a valid record",
                "error in WAL record",
                "invalid magic",
            )
        )
        and "could not open file" not in done.errors
    )


_SEGMENTS = """
cd "$1/pg_wal" || exit
for each in *; do
    case $each in *[!0-9A-F]*) continue ;; esac
    [ ${#each} -ne 24 ] || [ "$(od -An -N2 -tx1 -- "$each")" = " 00 00" ] || stat -c '%n %s' -- "$each"
done
"""


@dataclass(frozen=True, slots=True)
class Segments:
    """The files of a log that were written to: servers make files ahead, full of zeros, which `pg_waldump` may take for
    the one by which it finds out how long all are.
    """

    length: int = 0
    """Bytes of each; 0 where there is none."""
    names: tuple[str, ...] = ()

    def between(self, start: Fork) -> tuple[str, ...]:
        """The file in which a position lies, and the last one of its timeline; nothing where that is not there."""
        if not self.length:
            return ()
        number, each = start.at // self.length, (1 << 32) // self.length
        first = f"{start.timeline:08X}{number // each:08X}{number % each:08X}"
        mine = [name for name in self.names if name[:8] == first[:8] and name >= first]
        return (first, max(mine)) if first in mine else ()


def segments(server: Server, host: Host, place: Place) -> Segments:
    """The files of its log; none where they cannot be listed."""
    listed = server.script(host, _SEGMENTS, place.data)
    rows = [line.split() for line in listed.text.splitlines()] if listed.ok else []
    lengths = {int(length) for _, length in rows}
    return Segments(lengths.pop(), tuple(name for name, _ in rows)) if len(lengths) == 1 else Segments()


def _waldump(server: Server, place: Place, start: Fork, there: Segments, *flags: str) -> Command:
    files = there.between(start)
    timeline = () if files else (f"--timeline={start.timeline}",)  # else the file's name says it
    words = (f"--path={place.data}/pg_wal", *timeline, f"--start={written(start.at)}", *flags, *files)
    return server.command("pg_waldump", *words, timeout=None, binaries=place.binaries)
