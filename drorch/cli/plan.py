"""`drorch plan RUNBOOK`."""

from typing import get_args

import click

from drorch.cli.main import app, say_json
from drorch.core.errors import UnknownName
from drorch.core.exits import Exit
from drorch.core.scene import RunKind


@click.command("plan")
@click.argument("runbook")
@click.option("--kind", type=click.Choice(get_args(RunKind)), help="RUNBOOK is a service: its runbook of this kind.")
@click.option("--standby", help="Drill on this host instead of the runbook's.")
@click.option("--snapshot", help="latest, random, before:TIME or a snapshot's id, instead of the runbook's.")
@click.option("--store", help="Restore from the off-site copy in this store instead of the repository.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole plan as it would be stored.")
def command(
    runbook: str,
    kind: RunKind | None,
    standby: str | None,
    snapshot: str | None,
    store: str | None,
    *,
    as_json: bool,
) -> Exit:
    """Print every step and command that RUNBOOK would run; nothing connects."""
    from drorch.config.adhoc import runbook_for  # noqa: PLC0415 - help needs none of the models
    from drorch.engine.plan import make_plan  # noqa: PLC0415 - the same
    from drorch.reports.plans import plan_lines, plan_report  # noqa: PLC0415 - the same
    from drorch.reports.text import to_json, write  # noqa: PLC0415 - the same

    documents = app().documents
    if kind is not None:
        chosen = runbook_for(documents.runbooks, documents.inventory, kind, runbook)
    elif runbook in documents.runbooks:
        chosen = documents.runbooks[runbook]
    elif runbook in documents.inventory.services:
        raise UnknownName(
            f"{runbook} is a service, not a runbook", hint=f"say which: drorch plan {runbook} --kind backup, or drill"
        )
    else:
        known = ", ".join(sorted(documents.runbooks)) or "none"
        raise UnknownName(f"no runbook {runbook}", hint=f"there is {known}")
    hosts = documents.inventory.hosts
    if standby is not None and standby not in hosts:
        raise UnknownName(f"no host {standby} in the inventory", hint=f"there is {', '.join(hosts)}")
    plan = make_plan(documents.inventory, chosen, target=standby, snapshot=snapshot, store=store)
    report = plan_report(plan)
    if as_json:
        say_json({**to_json(report), "plan": plan.model_dump(mode="json", exclude_defaults=True)})
    else:
        write(plan_lines(report, plan))
    return Exit.OK
