"""`drorch approve RUN`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drorch.cli.answering import give
from drorch.cli.main import app, say_json
from drorch.cli.reading import find_run
from drorch.core.approval import NAMESPACE, Agreement, BreakGlass, Request, is_login
from drorch.core.errors import Refused, RunError, SettingsError
from drorch.core.evidence import Evidence, Failure
from drorch.core.exits import Exit
from drorch.core.host import printable
from drorch.core.model import Json
from drorch.core.scene import RunFacts
from drorch.core.step import Earlier
from drorch.engine.interpret import Answer
from drorch.engine.journal import Run
from drorch.engine.plan import Plan
from drorch.engine.runs import asked_under, operator
from drorch.hosts import sshsig
from drorch.reports.plans import plan_lines, plan_report
from drorch.reports.text import write
from drorch.steps.approval import ApprovalStep

if TYPE_CHECKING:
    from drorch.app import App

_LONGEST = 20_000
"""Bytes of a signature's file."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A run that waits for approval, and what it wants to be signed."""

    run: Run
    plan: Plan
    step: ApprovalStep
    facts: RunFacts
    earlier: Earlier
    request: Request
    said: Json
    """What whoever began it saw and confirmed."""


@click.command("approve")
@click.argument("run")
@click.option(
    "--as", "person", metavar="NAME", help="Who you are under people: of the inventory; by login unless said."
)
@click.option(
    "--key", metavar="FILE", help="Your SSH key, or its .pub with the key in an agent; the agent unless said."
)
@click.option("--request", "show", is_flag=True, help="Print what is to be signed, to sign it on another machine.")
@click.option("--signature", metavar="FILE", help="Hand in what was signed on another machine; - for stdin.")
@click.option("--break-glass", metavar="REASON", help="Go on without approval: recorded, and everybody is told.")
@click.option("--yes", metavar="SERVICE", help="Confirm by the service's name, for scripts.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    run: str,
    *,
    person: str | None,
    key: str | None,
    signature: str | None,
    break_glass: str | None,
    yes: str | None,
    show: bool,
    as_json: bool,
) -> Exit:
    """RUN waits for another person's approval: show what it will do, sign that with your SSH key, and let it go on."""
    if sum((show, signature is not None, break_glass is not None, key is not None)) > 1:
        raise click.UsageError("say only one of --key, --request, --signature and --break-glass")
    drorch = app()
    asked = _asked(drorch, find_run(drorch, run))
    if show:
        _print(asked, as_json=as_json)
        return Exit.OK
    if not as_json:
        _show(asked)
    if break_glass is not None:
        return give(drorch, asked.run, _broken(asked, break_glass, yes, as_json=as_json), as_json=as_json)
    who = person or _who(asked)
    if signature is None:
        _agree(asked, yes, "agree and sign", asking=not as_json)
        signed = _sign(drorch, asked, who, key)
    else:
        signed = _read(signature)
    said = Agreement(person=who, request=asked.request.text, signature=signed)
    outcome = asked.step.judge(
        said, asked.facts, asked.plan.scene, asked.earlier, now=drorch.clock.now(), host=drorch.controller
    )
    if isinstance(outcome, Failure):
        raise Refused(outcome.why, hint=outcome.hint)
    return give(drorch, asked.run, Answer(verb="approve", by=operator(), note=said.model_dump_json()), as_json=as_json)


def _asked(drorch: "App", run: Run) -> _Asked:
    """What the run waits for.

    Raises:
        RunError: it does not wait, or not for an approval.
    """
    waiting = drorch.runs.waits_for(run, "approve")
    plan = drorch.runs.plan(run)
    step = plan.step(waiting.step).step
    if not isinstance(step, ApprovalStep):
        raise RunError(f"{run.id} waits for no approval", hint=f"drorch show {run.id}")
    began: Json = {}
    earlier: dict[str, Evidence] = {}
    asked = run.started
    for record in drorch.journal.records(run.id):
        body = record.body
        if body["what"] == "started":
            began = body
        elif body["what"] == "attempt" and body.get("evidence"):
            earlier[body["step"]] = Evidence.model_validate(body["evidence"])
        elif record.key == asked_under(waiting.topic):
            asked = record.at
    facts = RunFacts(id=run.id, plan=run.plan, started=run.started, by=str(began.get("by", "")))
    request = step.request(facts, plan.scene, asked)
    return _Asked(run, plan, step, facts, earlier, request, began.get("said", {}))


def _print(asked: _Asked, *, as_json: bool) -> None:
    """The exact text on stdout; beside it, on stderr, what to type where the key is."""
    run = asked.run.id
    if as_json:
        people = sorted(asked.step.people)
        say_json({"run": run, "request": asked.request.text, "namespace": NAMESPACE, "people": people})
        return
    click.echo(asked.request.text, nl=False)
    click.echo(
        f"Sign exactly this, before {asked.request.expires}, where your key is:\n"
        f"  drorch approve {run} --request > request.txt\n"
        f"  ssh-keygen -Y sign -n {NAMESPACE} -f ~/.ssh/id_ed25519 request.txt\n"
        f"and hand in request.txt.sig here:\n"
        f"  drorch approve {run} --as NAME --signature request.txt.sig",
        err=True,
    )


def _show(asked: _Asked) -> None:
    """What is approved."""
    scene = asked.plan.scene
    whereto = f" from {scene.primary} to {scene.target}" if scene.target else f" on {scene.primary}"
    click.echo(f"{asked.run.id}, begun by {printable(asked.facts.by) or 'nobody known'}, waits for approval:", err=True)
    click.echo(f"  {scene.kind} of {scene.service}{whereto}", err=True)
    for words in _seen(asked.said):
        click.echo(f"  {printable(words)}", err=True)
    click.echo(f"  plan {asked.plan.digest}", err=True)
    click.echo(f"  good until {asked.request.expires}\n", err=True)
    write(plan_lines(plan_report(asked.plan), asked.plan), sys.stderr)
    click.echo("", err=True)


def _seen(said: Json) -> Iterator[str]:
    """What whoever began it saw before they confirmed, and what they said to it."""
    if not isinstance(said, dict):
        return
    seen = said.get("preflight", {})
    for source, loss in seen.get("losses", {}).items():
        yield f"loss of {source}, seen before it began: {loss.get('words', 'unknown')}"
    for looked in seen.get("findings", ()):
        finding = looked.get("finding", {})
        yield f"{finding.get('standing')}: {finding.get('about')}: {finding.get('what')}"
    for key in ("anyway", "again", "take_over"):
        if said.get(key):
            yield f"begun with --{key.replace('_', '-')}: {said[key]}"


def _who(asked: _Asked) -> str:
    """The one person whose login this is."""
    me = operator()
    found = [name for name, logins in asked.step.logins.items() if any(is_login(login, me) for login in logins)]
    if len(found) != 1:
        raise Refused(f"it is not plain who {me} is", hint=f"--as NAME: {', '.join(asked.step.people)}")
    return found[0]


def _agree(asked: _Asked, yes: str | None, what: str, *, asking: bool) -> None:
    """Have the service's name typed."""
    service = asked.run.service
    if yes is None and asking and sys.stdin.isatty():
        yes = click.prompt(f"Type the service's name to {what} ({service})", default="", show_default=False, err=True)
    if yes is None:
        raise Refused(f"nobody is here to {what}", hint=f"--yes={service}")
    if yes != service:
        raise Refused(
            f"{printable(yes)!r} is not {service}; nothing was done", hint=f"type {service}, or --yes={service}"
        )


def _sign(drorch: "App", asked: _Asked, who: str, key: str | None) -> str:
    """Sign here, with a key's file or the agent."""
    public = asked.step.people.get(who)
    if public is None:
        raise Refused(f"{who} may not approve this", hint=f"it may be approved by {', '.join(asked.step.people)}")
    path = str(Path(key).expanduser().absolute()) if key is not None else None
    signed = sshsig.sign(drorch.controller, asked.request.text, namespace=NAMESPACE, path=path, key=public)
    if isinstance(signed, Failure):
        raise Refused(signed.why, hint=signed.hint.replace(" RUN", f" {asked.run.id}"))
    return signed


def _read(path: str) -> str:
    """A signature made elsewhere."""
    try:
        with click.open_file(path, "rb") as file:
            content: bytes = file.read(_LONGEST + 1)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}", hint="hand in the file FILE.sig") from None
    if len(content) > _LONGEST:
        raise Refused(f"{path} is no signature: it is too long", hint="hand in the file FILE.sig")
    return content.decode("utf-8", "replace")


def _broken(asked: _Asked, reason: str, yes: str | None, *, as_json: bool) -> Answer:
    """A word instead of a signature."""
    if not reason.strip():
        raise click.UsageError("--break-glass wants a reason")
    routes = ", ".join(asked.step.tell)
    click.secho(
        f"BREAK-GLASS: nobody else agrees, and your name and reason are kept. {routes or 'Nobody'} will be told"
        f"{' at once' if routes else ', since there is no route under notify:'}.",
        fg="red",
        err=True,
    )
    _agree(asked, yes, "go on without approval", asking=not as_json)
    me = operator()
    return Answer(verb="approve", by=me, note=BreakGlass(break_glass=reason, by=me).model_dump_json())
