"""What a failover's document must say, so that nothing of it makes two primaries: told with its line at once."""

import json
from pathlib import Path

import pytest

from drorch.config.load import check

HOSTS = {
    name: {"address": f"192.0.2.{number}", "host_key": "SHA256:AAAA"} for number, name in enumerate(("web1", "web2"))
}
INVENTORY = {
    "site": "acme",
    "hosts": HOSTS,
    "repositories": {"nas": {"url": "/srv/nas", "password": {"secret": "nas"}}},
    "services": {
        "shop": {
            "primary": "web1",
            "standbys": ["web2"],
            "repository": "nas",
            "sources": {"database": {"kind": "postgres", "database": "shop", "replica": {"user": "replicator"}}},
        }
    },
    "secrets": {"nas": {"env": "NAS"}},
}
FENCE = "  - {kind: fence, host: web1, ladder: [{stop: [shop]}, attest]}\n"
PROMOTE = "  - {kind: promote, source: database}\n"
START = "  - {kind: service, host: web2, start: shop}\n"
SWITCH = "  - {kind: switch, via: {haproxy: {host: web2, backend: shop}}}\n"


def told(folder: Path, *steps: str, more: str = "") -> list[str]:
    """The problems of a failover with these steps, as a person reads them."""
    (folder / "runbooks").mkdir()
    (folder / "drorch.yaml").write_text(json.dumps(INVENTORY))
    text = f"runbook: book\nkind: failover\nservice: shop\nto: web2\n{more}steps:\n{''.join(steps)}"
    (folder / "runbooks" / "book.yaml").write_text(text)
    return [f"{problem.line}: {problem.message}; {problem.hint}" for problem in check(folder).problems]


def test_the_right_order_is_right(tmp_path: Path) -> None:
    """Fence, promote, start, lead."""
    assert told(tmp_path, FENCE, PROMOTE, START, SWITCH) == []


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((PROMOTE, FENCE), "6: promote without a fence before it: two primaries would take writes"),
        ((PROMOTE,), "6: promote without a fence before it"),
        ((SWITCH, FENCE, PROMOTE), "6: switch before the fence: while the old host lives, both would serve"),
        ((START, FENCE, PROMOTE), "6: service before the fence: while the old host lives, both would serve"),
        ((START,), "nothing fences the old primary"),
        ((FENCE.replace("web1", "web2"), PROMOTE), "web2 is where shop is led to: fenced, it could serve nobody"),
        ((FENCE.replace("ladder", "when: planned, ladder"), PROMOTE), "promote without a fence before it"),
    ],
)
def test_what_would_make_two_primaries_is_refused(tmp_path: Path, steps: tuple[str, ...], words: str) -> None:
    """With its line, and what to do."""
    problems = told(tmp_path, *steps)
    assert any(words in problem for problem in problems), problems
    assert all(problem.split("; ")[1] for problem in problems)


def test_what_cannot_be_taken_back_is_not_committed(tmp_path: Path) -> None:
    """A promotion is final: no time is given to think it over."""
    (problem,) = told(tmp_path, FENCE, PROMOTE, START, SWITCH, more="commit: 30m\n")
    assert "nothing can be taken back after promote-database" in problem


def test_a_failover_has_no_schedule(tmp_path: Path) -> None:
    """A person decides."""
    (problem,) = told(tmp_path, FENCE, PROMOTE, START, SWITCH, more='schedule: {daily: "03:00"}\n')
    assert "a failover never begins by itself" in problem
