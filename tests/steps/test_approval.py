"""Who may approve what, judged with real keys by OpenSSH itself."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from drorch.core.approval import Agreement, BreakGlass, Request, is_login, note_words, read_request
from drorch.core.errors import DrorchError
from drorch.core.evidence import Evidence, Failure, Outcome
from drorch.core.model import Json
from drorch.core.step import Earlier, Question
from drorch.hosts import sshsig
from drorch.steps.approval import ApprovalStep
from support.signers import agent, signer
from support.tools import START, Told, World

ADAPTER: TypeAdapter[ApprovalStep] = TypeAdapter(ApprovalStep)


def approval(**more: Json) -> ApprovalStep:
    """Anna, Ben and Cleo may; Anna is seen as anna."""
    people = {name: signer(name).public for name in ("anna", "ben", "cleo")}
    said = {"kind": "approval", "people": people, "logins": {"anna": ["anna"], "ben": ["ben@desk"]}, **more}
    return ADAPTER.validate_python(said)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A failover that Eve began."""
    made = World(tmp_path, {}, kind="failover", run="shop-failover@2026-03-01T02:30:00Z")
    made.run = replace(made.run, by="eve@desk")
    return made


def request(world: World, step: ApprovalStep) -> Request:
    """What is to be signed now."""
    return step.request(world.run, world.scene, world.clock.now())


def answer(note: str) -> Earlier:
    """A person's yes with this note, as the engine puts it in place."""
    return {"approval": Evidence(facts={"confirmed_by": "eve@desk", "note": note})}


def handed_in(
    world: World,
    step: ApprovalStep,
    *,
    person: str = "anna",
    key: str = "",
    text: str = "",
    signature: str = "",
    earlier: Earlier | None = None,
) -> Outcome:
    """What comes of a signature, by the person's own key over what is asked for unless said."""
    text = text or request(world, step).text
    signature = signature or signer(key or person).sign(text)
    note = Agreement(person=person, request=text, signature=signature).model_dump_json()
    return world.perform(step, {**(earlier or {}), **answer(note)}, name="approval")


def refused(outcome: Outcome) -> str:
    """Why it was refused, for good."""
    assert isinstance(outcome, Failure), outcome
    assert not outcome.retryable
    assert outcome.hint
    return outcome.why


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_signature_of_any_type_of_key_is_an_approval(world: World, kind: str) -> None:
    """Who signed what with which key is evidence, and the signature itself so that anybody can look again."""
    dora = signer(f"dora-{kind}", kind)
    step = approval(people={"dora": f"{dora.public} dora@laptop"})
    outcome = handed_in(world, step, person="dora", key=f"dora-{kind}", signature=dora.sign(request(world, step).text))
    assert isinstance(outcome, Evidence), outcome
    assert outcome.exceptions == ()
    assert outcome.facts["approved_by"] == "dora"
    assert outcome.facts["handed_in_by"] == "eve@desk"
    assert outcome.facts["request"] == request(world, step).text
    assert outcome.facts["signature"].startswith("-----BEGIN SSH SIGNATURE-----")


def test_a_key_in_an_agent_signs_by_its_public_half(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs to show drorch a private key."""
    step = approval()
    text = request(world, step).text
    with agent(signer("anna")) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        signed = sshsig.sign(world.at, text, namespace="drorch-approval", key=step.people["anna"])
        other = sshsig.sign(world.at, text, namespace="drorch-approval", key=step.people["ben"])
    assert isinstance(signed, str)
    assert isinstance(handed_in(world, step, signature=signed), Evidence)
    assert isinstance(other, Failure)
    assert "ssh-add" in other.hint


def test_only_those_who_are_named_may(world: World) -> None:
    """A valid signature of somebody else is none."""
    signer("mallory")
    assert "mallory may not" in refused(handed_in(world, approval(), person="mallory"))


def test_a_signature_by_another_key_is_refused(world: World) -> None:
    """The answer names both keys."""
    why = refused(handed_in(world, approval(), person="anna", key="ben"))
    assert sshsig.fingerprint(signer("anna").public) in why
    assert sshsig.fingerprint(signer("ben").public) in why


def test_a_signature_over_another_text_is_refused(world: World) -> None:
    """The signature must be over the very request that was handed in."""
    step = approval()
    signature = signer("anna").sign(request(world, step).text.replace("standby", "primary"))
    assert "not over this request" in refused(handed_in(world, step, signature=signature))


def test_a_signature_made_for_another_purpose_is_refused(world: World) -> None:
    """Signing a git commit or a file approves nothing."""
    step = approval()
    signature = signer("anna").sign(request(world, step).text, namespace="git")
    assert "not over this request" in refused(handed_in(world, step, signature=signature))


def test_what_is_no_signature_is_refused(world: World) -> None:
    """Neither an arbitrary text nor a broken armour is taken for one."""
    step = approval()
    assert "no SSH signature" in refused(handed_in(world, step, signature="yes, do it"))
    valid = signer("anna").sign(request(world, step).text)
    assert "no SSH signature" in refused(handed_in(world, step, signature=valid.replace("U1NI", "\0U1NI")))
    broken = valid.replace("U1NIU0lH", "U1NIU0lI")
    assert "not over this request" in refused(handed_in(world, step, signature=broken))


def _with(**changed: Json) -> Callable[[Request], str]:
    return lambda asked: asked.model_copy(update=changed).text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (_with(plan="cd" * 32), "another plan"),
        (_with(run="shop-failover@2026-02-01T02:30:00Z"), "another run"),
        (_with(runbook="shop-failback"), "another runbook"),
        (_with(service="blog"), "another service"),
        (_with(target="primary"), "another host"),
        (_with(number=2), "approval number 2"),
        (_with(expires="2027-03-01T02:30:00Z"), "longer than 15m"),
        (_with(expires="2026-02-31T02:30:00Z"), "no request of drorch's"),
        (lambda asked: asked.text.replace(",", ", "), "no request of drorch's"),
        (lambda asked: asked.text.replace("{", '{"run":"x",', 1), "no request of drorch's"),
        (lambda asked: asked.text.strip(), "no request of drorch's"),
        (lambda _: "yes\n", "no request of drorch's"),
    ],
    ids=["plan", "run", "runbook", "service", "host", "number", "too-long", "no-day", "blanks", "twice", "end", "yes"],
)
def test_a_request_for_anything_else_is_refused(world: World, text: Callable[[Request], str], told: str) -> None:
    """A person's valid signature over an altered plan, another run's request, or any other text approves nothing."""
    step = approval()
    assert told in refused(handed_in(world, step, text=text(request(world, step))))


def test_a_request_expires(world: World) -> None:
    """It is good until its last second, and not in it."""
    step = approval(timeout="10m")
    text = request(world, step).text
    assert '"expires":"2026-03-01T02:40:00Z"' in text
    world.clock.at = START + timedelta(minutes=9, seconds=59)
    assert isinstance(handed_in(world, step, text=text), Evidence)
    world.clock.at = START + timedelta(minutes=10)
    assert "expired at 2026-03-01T02:40:00Z" in refused(handed_in(world, step, text=text))


@pytest.mark.parametrize("by", ["anna@desk", "anna@laptop.example.com", "Anna@desk"])
def test_whoever_asks_does_not_approve(world: World, by: str) -> None:
    """The one who began the run cannot agree with themself."""
    world.run = replace(world.run, by=by)
    assert "whoever asks does not approve" in refused(handed_in(world, approval()))
    assert isinstance(handed_in(world, approval(), person="ben"), Evidence)


def test_a_run_that_nobody_is_known_to_have_begun_is_not_approved(world: World) -> None:
    """Unknown is not another person."""
    world.run = replace(world.run, by="")
    assert "not known who began" in refused(handed_in(world, approval()))


def test_nobody_counts_twice(world: World) -> None:
    """Of two approvals each is another person's and another key's."""
    first = handed_in(world, approval(required=2))
    assert isinstance(first, Evidence)
    before = {"first": first}
    second = approval(number=2, required=2)
    assert "counts twice" in refused(handed_in(world, second, earlier=before))
    twin = second.model_copy(update={"people": {**second.people, "ben": signer("anna").public}})
    assert "under another name" in refused(handed_in(world, twin, person="ben", key="anna", earlier=before))
    assert isinstance(handed_in(world, second, person="ben", earlier=before), Evidence)


def test_a_first_approval_is_no_second_one(world: World) -> None:
    """What Ben signed as the first approval cannot be handed in again as the second."""
    text = request(world, approval(required=2)).text
    assert "approval number 1" in refused(handed_in(world, approval(number=2, required=2), person="ben", text=text))


def test_a_yes_without_a_signature_is_no_approval(world: World) -> None:
    """Neither no answer, nor a note in words."""
    assert "nobody approved" in refused(world.perform(approval()))
    assert "without a signature" in refused(world.perform(approval(), answer("")))
    assert "without a signature" in refused(world.perform(approval(), answer(json.dumps({"person": "anna"}))))


def test_without_ssh_keygen_nothing_is_approved(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It cannot be verified, so it is a no, and the missing program is named."""
    step = approval()
    signature = signer("anna").sign(request(world, step).text)
    (tmp_path / "bin").mkdir()
    for program in ("mktemp", "rm", "sh"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    outcome = handed_in(world, step, signature=signature)
    refused(outcome)
    assert isinstance(outcome, Failure)
    assert "openssh-client" in outcome.hint


# --- break-glass ----------------------------------------------------------------------------------------------------


def _broken(world: World, step: ApprovalStep, earlier: Earlier | None = None) -> Evidence:
    note = BreakGlass(break_glass="everybody\nis asleep").model_dump_json()
    return world.evidence(step, {**(earlier or {}), **answer(note)}, name="approval")


def test_break_glass_is_loud(world: World) -> None:
    """It goes on, ends with an exception that names who and why, and every route hears of it."""
    evidence = _broken(world, approval(tell=["ops", "boss"]))
    assert evidence.exceptions == ("BREAK-GLASS by eve@desk without the approval: everybody is asleep",)
    assert evidence.facts["told"] == ["ops", "boss"]
    assert len(world.told.messages) == 2
    title, body = world.told.messages[0]
    assert "BREAK-GLASS" in title
    assert "everybody is asleep" in body
    assert "approved_by" not in evidence.facts


def test_break_glass_does_not_wait_for_a_route_that_fails(world: World) -> None:
    """Who could not be told is an exception of its own, and stops nothing."""

    class Deaf(Told):
        def send(self, title: str, body: str) -> None:
            raise DrorchError(f"no mail for {title[:3]}, {len(body)}"[:7])

    world.told = Deaf()
    evidence = _broken(world, approval(tell=["ops"]))
    assert evidence.exceptions[1:] == ("ops was not told of it: no mail",)


def test_break_glass_is_asked_for_once(world: World) -> None:
    """After it, no further approval is asked for; one that was given before counts."""
    first = handed_in(world, approval(required=3))
    assert isinstance(first, Evidence)
    earlier: dict[str, Evidence] = {"first": first}
    earlier["second"] = _broken(world, approval(number=2, required=3, tell=["ops"]), earlier)
    assert "without 2 of 3 approvals" in earlier["second"].exceptions[0]
    third = approval(number=3, required=3, tell=["ops"])
    assert third.question(world.scene, earlier) is None
    rest = world.evidence(third, earlier, name="third")
    assert rest.facts["break_glass"] == "everybody is asleep"
    assert rest.exceptions == ()
    assert len(world.told.messages) == 1


# --- words ----------------------------------------------------------------------------------------------------------


def test_the_question_says_what_who_and_until_when(world: World) -> None:
    """Whoever gave one already is not asked again."""
    given = {"first": Evidence(facts={"approved_by": "anna", "key": "x"})}
    question = approval(number=2, required=2).question(world.scene, given)
    assert isinstance(question, Question)
    assert question.verbs == ("approve", "refuse")
    assert question.timeout == timedelta(minutes=15)
    for words in ("failover of shop from primary to standby", "2 of 2", "ben or cleo", "15m is a no"):
        assert words in question.text
    assert "anna" not in question.text


def test_an_approval_cannot_be_left_out() -> None:
    """Neither by a person after a failure, nor by the runbook."""
    assert not approval().skippable
    with pytest.raises(ValidationError, match="cannot be continue"):
        approval(on_failure="continue")


@pytest.mark.parametrize(
    "key", ["ssh-ed25519", "AAAA", "ssh-ed25519 AAAA\nssh-ed25519 BBBB", 'x namespaces="file" AAAA']
)
def test_what_is_no_key_is_refused(key: str) -> None:
    """Nothing that a key's line could smuggle into the list of signers passes."""
    with pytest.raises(ValidationError):
        approval(people={"anna": key})


@pytest.mark.parametrize(
    ("login", "seen", "same"),
    [
        ("anna", "anna@desk", True),
        ("anna@desk", "anna@desk", True),
        ("anna@desk", "anna@desk.example.com", True),
        ("anna@desk.example.com", "anna@desk", True),
        ("anna@desk", "anna@laptop", False),
        ("ann", "anna@desk", False),
        ("desk", "anna@desk", False),
        ("anna", "daemon of anna@desk", False),
    ],
)
def test_a_login_is_a_user_on_one_machine_or_on_any(login: str, seen: str, *, same: bool) -> None:
    """Names of machines count with and without their domain."""
    assert is_login(login, seen) is same


def test_a_request_has_one_text_only(world: World) -> None:
    """Both sides make the same bytes, and read them back."""
    asked = request(world, approval())
    assert read_request(asked.text) == asked
    assert asked.text.count("\n") == 1


def test_people_read_who_signed_not_the_signature(world: World) -> None:
    """A note in words stays as it is."""
    text: Any = request(world, approval()).text
    signed = Agreement(person="anna", request=text, signature=base64.b64encode(b"x").decode())
    assert note_words(signed.model_dump_json()) == "signed by anna"
    assert note_words(BreakGlass(break_glass="asleep").model_dump_json()) == "BREAK-GLASS: asleep"
    assert note_words("cable is in") == "cable is in"
