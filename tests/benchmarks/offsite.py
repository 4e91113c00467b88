"""What benchmarks of off-site copies share: a repository, a Ceph that is new for each run, and who mirrors to it."""

import hashlib
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.measure import Costs, run
from benchmarks.workplace import DRORCH, PASSWORD, Workplace, fill, restic, workplace
from drorch.repositories.restic.serve import rclone
from support.ceph import Ceph, running_ceph

WHERE = "to a Ceph on the same machine, in memory"
_PAUSE = 0.005


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run of one program took."""

    seconds: float
    cpu: float
    """Seconds of processor time, those of its children included, the store's not."""
    peak: float
    """Resident megabytes of the program's own process at its highest, its children left out."""
    requests: int
    """That reached the store, by its own log."""
    said: bytes
    """On its standard output."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of drorch's step; empty for other programs."""

    @property
    def around(self) -> float:
        """Seconds of a drorch run that were not its pass: the start, the engine, probe, restic's list of snapshots."""
        return self.seconds - float(self.facts["seconds"])


class Spents(list[Spent]):
    """Runs of one side."""

    @property
    def seconds(self) -> Costs:
        """Wall-clock time."""
        return Costs(tuple(one.seconds for one in self))

    @property
    def peak(self) -> Costs:
        """Memory."""
        return Costs(tuple(one.peak for one in self))

    @property
    def cpu(self) -> Costs:
        """Processor time."""
        return Costs(tuple(one.cpu for one in self))

    @property
    def around(self) -> Costs:
        """As `Spent.around`."""
        return Costs(tuple(one.around for one in self))

    @property
    def requests(self) -> int:
        """Of the last run."""
        return self[-1].requests


def beside(value: Spents, other: Spents) -> str:
    """What a ratio of seconds leaves out."""
    return (
        f"processor {value.cpu.median:.1f} s beside {other.cpu.median:.1f} s, "
        f"requests {value.requests} beside {other.requests}; "
        f"{value.around.median:.2f} s of drorch's is its start and what frames the pass"
    )


@dataclass(frozen=True, slots=True)
class Target:
    """An empty bucket."""

    ceph: Ceph
    bucket: str

    @property
    def requests(self) -> int:
        """That the gateway has answered."""
        log = Path(self.ceph.cluster.folder) / "log" / "client.rgw.log"
        with log.open("rb") as lines:
            return sum(b" beast: " in line for line in lines)


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """A new cluster with a bucket, so that no run finds what another left; something was put, so pools are there."""
    with tempfile.TemporaryDirectory(dir=folder) as place, running_ceph(Path(place) / "ceph") as ceph:
        bucket = ceph.bucket()
        warm = ceph.bucket()
        ceph.client().put_object(Bucket=warm, Key="warm", Body=b"warm")
        yield Target(ceph, bucket)


@dataclass(frozen=True)
class Source:
    """A repository, and everybody who can mirror it."""

    place: Workplace
    _inventory: str
    _numbers: Iterator[int] = field(default_factory=count)

    def drorch(self, to: Target, verb: str = "mirror") -> Spent:
        """`drorch mirror STORE`, as users run it. The first run for a target is the first for its store."""
        store = f"bucket-{to.bucket.rpartition('-')[2]}"
        writer = self.place.folder / "config" / "writer"
        writer.touch(mode=0o600)
        writer.write_text(f"{to.ceph.owner.id}:{to.ceph.owner.secret}")
        (self.place.folder / "config" / "drorch.yaml").write_text(
            f"{self._inventory}  writer: {{file: {writer}}}\n"
            f"stores:\n  {store}: {{kind: s3, endpoint: '{to.ceph.endpoint}', bucket: {to.bucket}, "
            "credentials: {secret: writer}}\n"
        )
        spent = spend([DRORCH, verb, store, "--json"], self.place.env, to)
        run_id = json.loads(spent.said)["run"]
        shown = subprocess.check_output([DRORCH, "show", run_id, "--json"], env={**os.environ, **self.place.env})
        return replace(spent, facts=json.loads(shown)["timeline"][-1]["facts"])

    def rclone(self, to: Target, *options: str) -> Spent:
        """``rclone sync`` of the repository's files, with its own defaults unless said otherwise."""
        return spend([rclone(), "sync", *options, self.place.repository, _remote(to)], _rclone(to), to)

    def rclone_check(self, to: Target) -> Spent:
        """``rclone check``, which compares with the MD5 that the listing tells."""
        return spend([rclone(), "check", self.place.repository, _remote(to)], _rclone(to), to)

    def restic_copy(self, to: Target) -> Spent:
        """``restic copy`` into a new repository in the bucket; making that is not counted."""
        folder = self.place.folder / f"restic-{next(self._numbers)}"
        folder.mkdir()
        env = {
            "AWS_ACCESS_KEY_ID": to.ceph.owner.id,
            "AWS_SECRET_ACCESS_KEY": to.ceph.owner.secret,
            "RESTIC_REPOSITORY": f"s3:{to.ceph.endpoint}/{to.bucket}/copy",
            "RESTIC_FROM_REPOSITORY": str(self.place.repository),
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_FROM_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": str(folder),
            "TMPDIR": str(folder),
        }
        words = [restic(), "-o", "s3.bucket-lookup=path"]
        run([*words, "init", "--copy-chunker-params"], env)
        return spend([*words, "copy"], env, to)


def source(folder: Path, *, megabytes: int, quick: bool) -> Source:
    """A repository of so much noise in packs of restic's usual 16 MiB."""
    tree = folder / "tree"
    if megabytes:
        tree.mkdir(parents=True)
        chance = random.Random(7)  # noqa: S311 - the same bytes each time
        for number in range(8):
            (tree / str(number)).write_bytes(chance.randbytes(megabytes * 1_000_000 // 8))
    else:
        fill(tree, files=2, size=1000)
    place = workplace(folder / "place", tree, quick=quick)
    place.drorch("backup", "data")
    return Source(place, (place.folder / "config" / "drorch.yaml").read_text())


def add_packs(to: Source, number: int, smallest: int, largest: int) -> None:
    """Put files into a repository that are named as packs are; no index knows them, which a mirror does not ask."""
    chance = random.Random(number)  # noqa: S311 - the same bytes each time
    data = to.place.repository / "data"
    for _ in range(number):
        content = chance.randbytes(chance.randint(smallest, largest))
        name = hashlib.sha256(content).hexdigest()
        (data / name[:2]).mkdir(exist_ok=True)
        (data / name[:2] / name).write_bytes(content)


def spend(argv: Sequence[str | Path], env: Mapping[str, str], to: Target) -> Spent:
    """Run a program to its good end.

    Raises:
        AssertionError: it failed; with the last of what it said.
    """
    os.sync()
    before = to.requests
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **env})
        peak, pid = 0, 0
        while pid == 0:
            peak = max(peak, _highest(process.pid))
            time.sleep(_PAUSE)
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said = out.read()
        if process.returncode:
            raise AssertionError(
                f"{argv}: {process.returncode}: {(err.read() + said).decode(errors='replace')[-2000:]}"
            )
    return Spent(seconds, used.ru_utime + used.ru_stime, peak / 1e6, to.requests - before, said)


def _highest(pid: int) -> int:
    """Peak resident bytes so far, as the kernel counted them; 0 for a process that has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _remote(to: Target) -> str:
    return f":s3:{to.bucket}/vault"


def _rclone(to: Target) -> Mapping[str, str]:
    return {
        "RCLONE_CONFIG": "",
        "RCLONE_S3_PROVIDER": "Ceph",
        "RCLONE_S3_ENDPOINT": to.ceph.endpoint,
        "RCLONE_S3_ACCESS_KEY_ID": to.ceph.owner.id,
        "RCLONE_S3_SECRET_ACCESS_KEY": to.ceph.owner.secret,
    }
