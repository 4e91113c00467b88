"""`drorch audit` of a copy of very many objects: a request for each, beside ``rclone check``, which only lists."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figure, in_turns
from benchmarks.offsite import WHERE, Spents, add_packs, source, target


def figures(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """The figure."""
    objects, rounds = (50, 1) if quick else (100_000, 2)
    of = source(folder / "source", megabytes=0, quick=quick)
    add_packs(of, objects, 100, 4_000)
    with target(folder) as place:
        of.drorch(place)
        theirs, ours = map(
            Spents, in_turns((lambda: of.rclone_check(place), lambda: of.drorch(place, "audit")), rounds)
        )
    facts = ours[-1].facts
    looked, share = facts["recorded"] + facts["unrecorded"], objects / 10_000
    yield Figure(
        subject=f"drorch audit, {objects} objects of 100 B to 4 kB {WHERE}",
        baseline="rclone check, which reads the source and believes the store's listing,",
        value=ours.seconds,
        beside=theirs.seconds,
        unit="s",
        aim="none; what 10,000 objects cost is for the provider's bill",
        remark=f"for each 10,000 objects {ours.requests / share:.0f} requests and "
        f"{float(facts['seconds']) / share:.1f} s of the audit itself; {looked} asked for their checksum, "
        f"{facts['hashed']} read; {ours.around.median:.2f} s is start and end of drorch; "
        f"memory at its peak {ours.peak.median:.0f} MB",
    )
