"""The engine on PostgreSQL: the same runs, their records in a server instead of a file."""

from drorch.core.step import RunState
from support.hands import appending, eventually, runbook, running, touched
from support.postgres import SUPERUSER, Cluster
from support.site import Site


def test_runs_are_as_durable_on_postgresql(shop: Site, postgres: Cluster) -> None:
    """A run killed while its engine's records lie in PostgreSQL goes on where it was."""
    postgres.create_database("drorch_engine")
    url = f"postgresql://{SUPERUSER}@/drorch_engine?host={postgres.sockets}&port={postgres.port}"
    site = Site(shop.folder, {**shop.env, "DRORCH_DATABASE_URL": url})
    gate = site.folder / "gate"
    runbook(
        site, "served", appending(site, "first") + appending(site, "second", f"until [ -e {gate} ]; do sleep 0.1; done")
    )
    with running(site, "run", "served") as process:
        eventually(lambda: touched(site, "second") == 1, "the second step began", 60)
        process.kill()
    gate.touch()
    site.drorch("resume", "last")
    assert site.newest().state is RunState.COMPLETED
    assert touched(site, "first") == 1
