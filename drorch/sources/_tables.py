"""What a restored database holds against what the user expects."""

from collections.abc import Mapping

from drorch.core.evidence import Failure


def unmet(rows: Mapping[str, int], expected: Mapping[str, int]) -> Failure | None:
    """A failure that names the first unmet expectation; a database without any table never meets one.

    ``rows`` is by ``schema.table``, or by ``table`` where there are no schemas; an expectation may leave the schema out
    where that is no riddle.
    """
    if not rows:
        return Failure(
            why="the restored database has no table", hint="was the right database backed up? look at its first backups"
        )
    for wanted, least in expected.items():
        matches = [wanted] if wanted in rows else [name for name in rows if name.partition(".")[2] == wanted]
        if not matches:
            return Failure(
                why=f"the restored database has no table {wanted}",
                hint=f"it has {', '.join(sorted(rows)[:20])}{' …' if len(rows) > 20 else ''}",  # noqa: PLR2004 - a line
            )
        if len(matches) > 1:
            return Failure(why=f"more than one table is called {wanted}", hint=f"say {' or '.join(sorted(matches))}")
        if rows[matches[0]] < least:
            return Failure(why=f"table {wanted} has {rows[matches[0]]} rows, at least {least} were expected")
    return None
