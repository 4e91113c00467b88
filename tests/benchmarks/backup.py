"""`drorch backup` beside the very restic command that it runs: a first backup, then an unchanged tree."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from benchmarks.measure import Costs, Figure, alternate, run, seconds
from benchmarks.workplace import DRORCH, PASSWORD, SERVICE, Workplace, fill, restic, workplace
from drorch.core.repository import Tags
from drorch.core.source import Tree
from drorch.repositories.restic import argv

AIM = "at most 1.05 times, at most 0.3 s more"


class _Bare:
    """A repository that only restic knows."""

    def __init__(self, folder: Path, tree: Path) -> None:
        (folder / "tmp").mkdir(parents=True)
        self._tree = tree
        self._env = {
            "RESTIC_REPOSITORY": str(folder / "repository"),
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": str(folder / "cache"),
            # As drorch sets them, so that the command and all that sways it are the same.
            "RESTIC_PROGRESS_FPS": "2",
            "TMPDIR": str(folder / "tmp"),
            "TZ": "UTC",
        }
        run(argv.create(argv.Common(restic())), self._env)

    def backup(self) -> float:
        words = argv.backup(
            argv.Common(restic()),
            Tree(paths=(str(self._tree),)),
            host="here",
            tags=Tags(service=SERVICE, source="files", part="tree", run="bare", plan="0" * 16).words(),
            time=datetime.now(UTC),
        )
        return seconds(words, self._env)


def figures(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """Both figures."""
    tree = folder / "tree"
    files, size = (40, 2_000_000) if quick else (2000, 1_000_000_000)
    firsts, agains = (1, 1) if quick else (5, 9)
    fill(tree, files=files, size=size)
    numbers = count()
    bare: list[_Bare] = []
    ours: list[Workplace] = []

    def first_bare() -> float:
        bare.append(_Bare(folder / f"bare-{next(numbers)}", tree))
        return bare[-1].backup()

    def first_ours() -> float:
        ours.append(workplace(folder / f"ours-{next(numbers)}", tree, quick=quick))
        return again_ours()

    def again_ours() -> float:
        return seconds([DRORCH, "backup", SERVICE], ours[-1].env)

    what = f"{files} files, {size / 1e6:.0f} MB"
    yield _figure(f"drorch backup, first, {what}", alternate(first_bare, first_ours, firsts))
    yield _figure(
        f"drorch backup, unchanged tree, {what}",
        alternate(bare[-1].backup, again_ours, agains),
    )


def _figure(subject: str, costs: tuple[Costs, Costs]) -> Figure:
    beside, value = costs
    return Figure(
        subject=subject,
        baseline="the same bare restic command",
        value=value,
        beside=beside,
        unit="s",
        aim=AIM,
        remark=f"{value.median - beside.median:+.3f} s",
    )
