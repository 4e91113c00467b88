"""How a tree on a host differs from a snapshot: pure. Three lists go in, the differences come out.

The snapshot's own listing says what must be there, `find` says what is there, and restic's dry run, which reads every
byte of every file, says whose content differs. Content is exact. Of the metadata these count: type, permissions,
size, time of the last change (of files, to two seconds, the coarsest step of a file system in use), link targets and
hard links, and owner and group when the restore ran as root. Extended attributes are not compared.
"""

import json
import re
from datetime import datetime
from typing import NamedTuple

from drorch.core.errors import RepositoryError
from drorch.core.host import printable
from drorch.core.repository import Comparison
from drorch.repositories.restic.parse import Item, read_line

SHOWN = 100
_TIME_STEP = 2.0
_RECORD = b"\0"
_FIELDS = 9
_FORMAT = r"%y\0%m\0%U\0%G\0%s\0%T@\0%n:%i\0%P\0%l\0\n"

_TYPES = {
    "file": "f",
    "dir": "d",
    "symlink": "l",
    "fifo": "p",
    "socket": "s",
    "dev": "b",
    "chardev": "c",
}
_UNDECODABLE = re.compile("[\udc80-\udcff]")
_LONG = re.compile(rb"^L\S+ +\d+ +\d+ +\d+ \S+ \S+ (/.*)$")


class Node(NamedTuple):
    """One path's metadata, from either side."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    inode: int
    links: int


def find(path: str) -> tuple[str, ...]:
    """The command that lists a tree as `Difference.found` reads it."""
    return ("find", path, "-mindepth", "1", "-printf", _FORMAT)


class Difference:
    """Collects the three lists, each fed line by line, and says how they differ.

    Order: all of `expect`, `point` and `find`, then the dry run, then `result`.
    """

    def __init__(self, *, owners: bool) -> None:
        self._owners = owners
        self._expected: dict[str, Node | None] = {}
        """By path; None where undecodable names fell together, so that metadata cannot be told apart."""
        self._targets: dict[str, str] = {}
        self._linked: dict[str, int] = {}
        """Inodes in the tree of files with several names."""
        self._read_inodes: set[tuple[int, int]] = set()
        """(inode in the snapshot, inode in the tree) of files whose bytes the dry run has read."""
        self._rest = b""
        self._unseen: set[str] | None = None
        self._differing: dict[str, str] = {}
        self._count = 0
        self.files = 0
        self.bytes = 0
        self._read = 0

    def expect(self, line: bytes) -> None:
        """One line of `restic ls --json`.

        Raises:
            RepositoryError: it cannot be read, so nothing could be said about the tree.
        """
        try:
            node = json.loads(line)
            if node.get("struct_type", node.get("message_type")) != "node":
                return
            path = str(node["path"])
            facts = Node(
                kind=_TYPES.get(node["type"], "?"),
                mode=_permissions(int(node.get("mode", 0))),
                uid=int(node.get("uid", 0)),
                gid=int(node.get("gid", 0)),
                size=int(node.get("size", 0)),
                mtime=_seconds(node["mtime"]),
                inode=int(node.get("inode", 0)),
                links=0,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RepositoryError("restic's listing of the snapshot cannot be read") from error
        self._expected[path] = None if path in self._expected else facts
        if facts.kind == "f":
            self.files += 1
            self.bytes += facts.size

    @property
    def has_links(self) -> bool:
        """Whether the snapshot holds symbolic links."""
        return any(node is not None and node.kind == "l" for node in self._expected.values())

    def point(self, line: bytes) -> None:
        """One line of `restic ls --long`: where a symbolic link points."""
        found = _LONG.match(line)
        if found is None:
            return
        text = _as_json_shows(found[1])
        cuts = [match.start() for match in re.finditer(" -> ", text)]
        for cut in cuts:
            node = self._expected.get(text[:cut])
            if node is not None and node.kind == "l":
                self._targets[text[:cut]] = text[cut + 4 :]
                return

    def found(self, line: bytes) -> None:
        """One line of the command `find`; a name with newlines arrives in several."""
        self._rest += line + b"\n"
        if self._rest.count(_RECORD) < _FIELDS:
            return
        *fields, rest = self._rest.split(_RECORD, _FIELDS)
        self._rest = b"" if rest == b"\n" else rest
        if self._unseen is None:
            self._unseen = set(self._expected)
        try:
            kind, mode, uid, gid, size, mtime, links, name, target = fields
            count, inode = links.split(b":")
            actual = Node(
                kind.decode("ascii"), int(mode, 8), int(uid), int(gid), int(size), float(mtime), int(inode), int(count)
            )
        except ValueError as error:
            raise RepositoryError("the listing of the restored tree cannot be read") from error
        self._judge("/" + _as_json_shows(name), actual, _as_json_shows(target))

    def _judge(self, path: str, actual: Node, target: str) -> None:
        unseen = self._unseen if self._unseen is not None else set()
        if path not in self._expected:
            self._differs(path, "unexpected")
            return
        unseen.discard(path)
        if actual.kind == "f" and actual.links > 1:
            self._linked[path] = actual.inode
        expected = self._expected[path]
        if expected is None:
            return
        wrong = [
            name
            for name, differs in (
                ("type", actual.kind != expected.kind),
                ("permissions", expected.kind != "l" and actual.mode != expected.mode),
                ("owner", self._owners and (actual.uid, actual.gid) != (expected.uid, expected.gid)),
                ("size", expected.kind == "f" and actual.size != expected.size),
                ("time", expected.kind == "f" and abs(actual.mtime - expected.mtime) > _TIME_STEP),
                ("target", expected.kind == "l" and self._points_elsewhere(path, target)),
            )
            if differs
        ]
        if wrong:
            self._differs(path, "altered", ", ".join(wrong))

    def _points_elsewhere(self, path: str, target: str) -> bool:
        # `restic ls` shows a target up to its first newline on the line that was read.
        wanted = self._targets.get(path)
        return wanted is not None and target.split("\n", 1)[0] != wanted

    def compared(self, line: bytes) -> None:
        """One line of the dry run."""
        item = read_line(line)
        if not isinstance(item, Item):
            return
        expected = self._expected.get(item.path)
        if item.action in {"unchanged", "updated"}:
            self._read += 1
            if expected is not None and item.path in self._linked:
                self._read_inodes.add((expected.inode, self._linked[item.path]))
        if item.action == "updated":
            self._differs(item.path, "altered", "content")
        elif item.action == "restored" and item.path in self._expected and not self._is_missing(item.path):
            self._read += self._restored(item, expected)

    def _restored(self, item: Item, expected: Node | None) -> int:
        """The dry run would write a path that is there: right for all that is no file, and for the further names of
        a file whose bytes were read; 1 when such a name was proven so.
        """
        if expected is not None and expected.kind != "f":
            return 0
        if expected is not None and (expected.inode, self._linked.get(item.path, -1)) in self._read_inodes:
            return 1
        self._differs(item.path, "altered", "content" if item.size else "no longer a hard link")
        return 1

    def _is_missing(self, path: str) -> bool:
        return self._unseen is None or path in self._unseen

    def result(self) -> Comparison:
        """The differences.

        Raises:
            RepositoryError: the dry run did not speak of every file, so equality is not proven.
        """
        missing = self._unseen if self._unseen is not None else set(self._expected)
        for path in sorted(missing):
            self._differs(path, "missing")
        lost = sum(1 for path in missing if (node := self._expected[path]) is not None and node.kind == "f")
        if self._read < self.files - lost and not self._differing:
            raise RepositoryError(
                f"restic compared {self._read} of {self.files} files of the snapshot, so nothing is proven",
                hint="compare again, and report it if it happens twice",
            )
        return Comparison(
            files=self.files,
            bytes=self.bytes,
            differing=tuple(list(self._differing.values())[:SHOWN]),
            differing_count=self._count,
        )

    def _differs(self, path: str, how: str, detail: str = "") -> None:
        if path in self._differing:
            return
        self._count += 1
        if len(self._differing) < SHOWN * 100:
            self._differing[path] = printable(f"{how} {path}{f' ({detail})' if detail else ''}".replace("\n", "\\n"))


def _as_json_shows(name: bytes) -> str:
    """A file name as Go's JSON writer shows it: each byte that is no UTF-8 as one replacement character."""
    return _UNDECODABLE.sub("\ufffd", name.decode("utf-8", "surrogateescape"))


def _permissions(mode: int) -> int:
    """Go's file mode bits as Unix permissions."""
    special = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))
    return (mode & 0o777) | sum(bit for go, bit in special if mode & go)


def _seconds(time: str) -> float:
    found = re.fullmatch(r"(.*?)(\.\d+)?(Z|[+-]\d\d:\d\d)", time)
    if found is None:
        raise ValueError(time)
    whole = datetime.fromisoformat(found[1] + ("+00:00" if found[3] == "Z" else found[3])).timestamp()
    return whole + float(found[2] or 0)
