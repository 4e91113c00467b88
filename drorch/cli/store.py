"""`drorch store list|probe|policy|create`."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from drorch.cli.main import app, say_json
from drorch.core.errors import DrorchError, Refused, UnknownName
from drorch.core.exits import Exit, of_error
from drorch.core.host import printable
from drorch.core.model import Json, SecretRef
from drorch.core.store import Created, Creation, Grade, Lock, Means, StoreSpec, Trial

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.mirror.trust import Known
    from drorch.reports.text import Line, Span, Style


@click.group("store")
def command() -> None:
    """Make, probe and list stores of off-site copies."""


# -- list --------------------------------------------------------------------------------------------------------------


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> Exit:
    """List the inventory's stores and what their newest probes saw; nothing connects."""
    from drorch.cli.reading import zone_of  # noqa: PLC0415 - help needs none of this
    from drorch.mirror.trust import fresh, remembered  # noqa: PLC0415 - the same
    from drorch.reports.text import Span, columns, line, moment, write  # noqa: PLC0415 - the same

    drorch = app()
    stores = drorch.documents.inventory.stores
    zone, now = zone_of(drorch), drorch.clock.now()
    found: list[dict[str, Json]] = []
    rows: list[Sequence[str | Span]] = []
    code = Exit.OK
    for name, spec in stores.items():
        stands: dict[str, Json] = {"store": name, "kind": spec.kind, "place": spec.describe(), "prefix": spec.prefix}
        stands["lock"] = spec.lock.model_dump(mode="json") if spec.lock else None
        try:
            known = remembered(drorch.journal, name)
        except DrorchError as error:
            code = of_error(error)
            found.append({**stands, "error": error.message, "hint": error.hint})
            rows.append((name, spec.kind, spec.describe(), _lock_words(spec.lock), Span(f"✗ {error}", "bad"), ""))
            continue
        found.append({**stands, "probe": _plain(known) if known else None, "fresh": fresh(known, now)})
        when = moment(known.at, zone) if known else f"drorch store probe {name}"
        if known and not fresh(known, now):
            when += ", more than a day ago"
        rows.append((name, spec.kind, spec.describe(), _lock_words(spec.lock), _standing(known), when))
    if as_json:
        say_json({"stores": found})
    elif rows:
        write(columns(rows, indent=0))
    else:
        write([line("no stores: add one under stores: in drorch.yaml")])
    return code


def _lock_words(lock: Lock | None) -> str:
    if lock is None:
        return "no lock"
    held = ", legal hold" if lock.legal_hold else ""
    return f"{lock.mode}, {lock.days} day{'s' if lock.days != 1 else ''}{held}"


def _standing(known: "Known | None") -> "Span":
    from drorch.reports.text import Span  # noqa: PLC0415 - loaded already

    if known is None:
        return Span("? never probed", "warn")
    if known.worse:
        return Span(f"✗ {known.grade}, was once: {known.best}", "bad")
    if known.grade is Grade.NEITHER:
        return Span(f"✗ {known.grade}", "bad")
    return Span(f"✓ {known.grade}", "good")


# -- probe -------------------------------------------------------------------------------------------------------------

_MARKS = {True: "✓", False: "✗", None: "?"}
_MEANS = {
    Grade.LOCKS: "what does not match is refused, and what is locked stays",
    Grade.REFUSES: "what does not match is refused; whoever holds the credential can delete",
    Grade.NEITHER: "nothing it says can be trusted without reading everything back",
}


@command.command("probe")
@click.argument("name")
@click.option("--accept", is_flag=True, help="Take today's grade for the best: it being worse than before is no alarm.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe(name: str, *, accept: bool, as_json: bool) -> Exit:
    """Try on the store NAME what a safe one refuses; on tiny objects of its own, below drorch-probe/."""
    from drorch.mirror.trust import remember  # noqa: PLC0415 - help needs none of this
    from drorch.reports.text import write  # noqa: PLC0415 - the same

    drorch = app()
    _spec(drorch, name)
    with drorch.everything() as box:
        store = box.store(name)
        store.ready()
        known = remember(box.memory, name, store.probe(), drorch.clock.now(), place=store.shown, accept=accept)
    if as_json:
        say_json({"store": name, **_plain(known)})
    else:
        write(_probe_lines(name, known))
    return Exit.FAILED if known.worse or known.grade is Grade.NEITHER else Exit.OK


def _plain(known: "Known") -> dict[str, Json]:
    said: dict[str, Json] = known.model_dump(mode="json")
    return {**said, "worse": known.worse}


def _probe_lines(name: str, known: "Known") -> "list[Line]":
    from drorch.reports.text import Span, columns, line  # noqa: PLC0415 - loaded already

    lines = columns(
        [
            (Span(f"{_MARKS[trial.good]} {trial.name}", _style(trial)), f"asked {trial.what}: {trial.answer}")
            for trial in known.trials
        ],
        indent=0,
    )
    lines.append(line(Span(f"{name}: {known.grade}", "bold"), f"; {_MEANS[known.grade]}", hanging=2))
    if known.worse:
        lines.append(line(Span(f"✗ it was better once: {known.best}", "bad"), hanging=2))
        lines.append(
            line(
                "  what to do: find out who changed the store or its credentials;"
                f" if it was you: drorch store probe {name} --accept",
                hanging=4,
            )
        )
    return lines


def _style(trial: Trial) -> "Style":
    if trial.good is None:
        return "warn"
    return "good" if trial.good else "bad"


# -- policy ------------------------------------------------------------------------------------------------------------


@command.command("policy")
@click.argument("name")
@click.option("--for", "whom", type=click.Choice(["writer", "deleter"]), help="Only this credential's, to be pasted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def policy(name: str, whom: str | None, *, as_json: bool) -> Exit:
    """Print the least that the credentials of the store NAME need to be allowed; nothing connects."""
    policies = _spec(app(), name).policies()
    if policies is None:
        raise Refused(
            f"{name} has no credentials with policies of their own",
            hint="who may write and delete there is decided by the permissions of the folder and its account",
        )
    documents = {key: value for key, value in policies.documents.items() if whom in {None, key}}
    if as_json:
        say_json({"store": name, "policies": documents, "notes": list(policies.notes)})
        return Exit.OK
    for key, document in documents.items():
        if whom is None:
            click.echo(f"{key}:")
        click.echo(json.dumps(document, indent=2))
    for note in policies.notes:
        click.echo(f"note: {note}", err=True)
    return Exit.OK


# -- create ------------------------------------------------------------------------------------------------------------


@command.command("create")
@click.argument("name")
@click.option("--credentials", metavar="SECRET", help="Make it with this secret of the inventory, not the writer's.")
@click.option("--yes", metavar="NAME", help="The store's name once more: do it without a question.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; needs --yes.")
def create(name: str, credentials: str | None, yes: str | None, *, as_json: bool) -> Exit:
    """Make the place of the store NAME at its provider, once you agree. Nothing else ever makes one."""
    drorch = app()
    spec = _spec(drorch, name)
    secrets = drorch.documents.inventory.secrets
    if credentials is not None and credentials not in secrets:
        raise UnknownName(f"no secret {credentials} in the inventory", hint=f"there is {', '.join(secrets) or 'none'}")
    with drorch.everything() as box:
        means = Means(secrets=box.secrets, clock=box.clock, host=box.host)
        creation = spec.creation(name, means, SecretRef(secret=credentials) if credentials else None)
        if creation is None:
            raise Refused(
                f"{name} is a {spec.describe()}, which drorch does not make",
                hint="make the folder yourself, writable for the account that writes there, and for nobody else",
            )
        if not as_json:
            _show(creation)
        _agree(name, yes, asking=not as_json)
        created = creation.create()
    if as_json:
        say_json(
            {
                "store": name,
                "will": list(creation.will),
                "warnings": list(creation.warnings),
                "done": list(created.done),
                "has": list(created.has),
                "lacks": list(created.lacks),
            }
        )
    else:
        _tell(name, created)
    return Exit.EXCEPTIONS if created.lacks else Exit.OK


def _show(creation: Creation) -> None:
    click.echo("this will be done:", err=True)
    for sentence in creation.will:
        click.echo(f"  {printable(sentence)}", err=True)
    for warning in creation.warnings:
        click.secho(f"warning: {printable(warning)}", fg="yellow", err=True)


def _agree(name: str, yes: str | None, *, asking: bool) -> None:
    """Return only when somebody typed the store's name."""
    said = yes
    if said is None and asking and sys.stdin.isatty():
        said = click.prompt("Type the store's name to do it", default="", show_default=False, err=True)
    if said is None:
        raise Refused(f"nobody is here to agree; {name} was not made", hint=f"--yes={name}")
    if said != name:
        raise Refused(f"{printable(said)!r} is not {name}; nothing was done", hint=f"type {name}, or say --yes={name}")


def _tell(name: str, created: Created) -> None:
    from drorch.reports.text import Span, line, write  # noqa: PLC0415 - help needs none of this

    lines = [line(Span("✓ ", "good"), sentence, hanging=2) for sentence in created.done]
    lines += [line("has: ", sentence, hanging=2) for sentence in created.has]
    lines += [line(Span("✗ lacks: ", "bad"), sentence, hanging=2) for sentence in created.lacks]
    write([*lines, line(f"next: drorch store policy {name}, drorch store probe {name}")])


# -- shared ------------------------------------------------------------------------------------------------------------


def _spec(drorch: "App", name: str) -> StoreSpec:
    stores = drorch.documents.inventory.stores
    if name not in stores:
        raise UnknownName(f"no store {name} in the inventory", hint=f"there is {', '.join(stores) or 'none'}")
    return stores[name]
