"""What a failover or failback has beyond its runbook's steps: whereto, who must agree, who else must not act. Pure."""

from collections.abc import Iterator

from pydantic import TypeAdapter

from drorch.config.inventory import Inventory, Service
from drorch.config.runbook import Approval, Runbook
from drorch.core.errors import Refused
from drorch.core.model import Json
from drorch.core.step import Step
from drorch.steps import AnyStep

_STEP: TypeAdapter[Step] = TypeAdapter(AnyStep)

Named = tuple[str, Step]
"""A step with its id."""


def new_home(inventory: Inventory, service: Service, runbook: Runbook, said: str | None) -> str:
    """The host that the service is led to.

    Raises:
        Refused: there is none, the service lives there already, or nothing fences the host where it lives.
    """
    name = runbook.service
    target = said or runbook.to or next(iter(service.standbys), None)
    if target is None:
        raise Refused(f"{name} has no standby to lead to", hint="name one under standbys: of the service, or say `to:`")
    if target not in inventory.hosts:
        raise Refused(f"no host {target} in the inventory", hint=f"there is {', '.join(inventory.hosts)}")
    if target == service.primary:
        raise Refused(
            f"{name} lives on {target} already, so {runbook.runbook} has nothing to do",
            hint=f"drorch home {name} says since when; if that is wrong: drorch home {name} HOST",
        )
    fenced = {placed.step.subject for placed in runbook.placed() if placed.step.kind == "fence"}
    if service.primary not in fenced:
        said_so = f"it fences {', '.join(sorted(fenced))}" if fenced else "it has no fence step"
        raise Refused(
            f"{name} lives on {service.primary}, which {runbook.runbook} does not fence: {said_so}",
            hint=f"add {{kind: fence, host: {service.primary}, ladder: […]}}, or correct: drorch home {name} HOST",
        )
    return target


def around(
    inventory: Inventory, service: Service, runbook: Runbook, take_over: str | None
) -> tuple[list[Named], list[Named]]:
    """The steps that come first, and those that come last whatever happened."""
    first = list(_approvals(inventory, runbook.approval)) if runbook.approval else []
    if service.lease is None or any(placed.step.kind == "claim" for placed in runbook.placed()):
        return first, []
    claim: dict[str, Json] = {"kind": "claim", "store": service.lease}
    first.append(("claim", _made({**claim, "take_over": take_over} if take_over else claim)))
    release = {"kind": "release", "store": service.lease, "always": True, "on_failure": "continue"}
    return first, [("release", _made(release))]


def _approvals(inventory: Inventory, approval: Approval) -> Iterator[Named]:
    may = approval.by or tuple(inventory.people)
    people = {name: person for name, person in inventory.people.items() if name in may}
    tell = sorted(inventory.notify)
    for number in range(1, approval.required + 1):
        step: dict[str, Json] = {
            "kind": "approval",
            "number": number,
            "required": approval.required,
            "people": {name: " ".join(person.key.split()[:2]) for name, person in people.items()},
            "logins": {name: list(person.logins) for name, person in people.items() if person.logins},
            "timeout": approval.model_dump(mode="json")["timeout"],
            "tell": tell,
        }
        yield f"approval-{number}" if number > 1 else "approval", _made(step)


def _made(step: Json) -> Step:
    return _STEP.validate_python(step)
