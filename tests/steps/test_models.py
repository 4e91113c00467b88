"""What a runbook may and may not say, kind by kind."""

import pytest
from pydantic import TypeAdapter, ValidationError

from drorch.core.model import Json
from drorch.core.step import Step
from drorch.steps import AnyStep
from drorch.steps.check import parts_of

ADAPTER: TypeAdapter[Step] = TypeAdapter(AnyStep)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"kind": "retain", "keep": {}}, "keeps nothing"),
        ({"kind": "check", "subset": "2/30"}, "such as 1/30 or 10%"),
        ({"kind": "check", "subset": "0%"}, "such as 1/30 or 10%"),
        ({"kind": "check", "subset": "101%"}, "such as 1/30 or 10%"),
        ({"kind": "check", "every": 7}, "must be a duration"),
        ({"kind": "restore", "source": "media", "snapshot": "newest"}, "should match pattern"),
        ({"kind": "restore", "source": "media", "snapshot": "before:yesterday"}, "Invalid isoformat"),
        ({"kind": "restore", "source": "media", "snapshot": "before:2026-01-01"}, "needs a zone"),
        ({"kind": "command", "run": []}, "at least 1 item"),
        ({"kind": "command", "run": "rm -rf /"}, "valid tuple"),
        ({"kind": "command", "run": ["a\0b"]}, "should match pattern"),
        ({"kind": "command", "run": ["a"], "env": {"A B": "c"}}, "should match pattern"),
        ({"kind": "command", "run": ["a"], "background": True, "expect": {"exit": 1}}, "has none"),
        ({"kind": "command", "run": ["a"], "background": True, "probe": ["b"]}, "needs no probe"),
        ({"kind": "command", "run": ["a"], "undo_by": ["b"]}, "Extra inputs"),
        ({"kind": "http", "url": "shop.example.com"}, "must begin with http"),
        ({"kind": "http", "url": "ftp://shop.example.com"}, "must begin with http"),
        ({"kind": "http", "url": "http://me:secret@shop.example.com"}, "must not hold a user or password"),
        ({"kind": "http", "url": "http://shop:99999/"}, "is no address"),
        ({"kind": "http", "url": "http://shop/a b"}, "should match pattern"),
        ({"kind": "http", "url": "http://shop/\r\nHost: x"}, "should match pattern"),
        ({"kind": "http", "url": "http://shop/", "method": "POST"}, "'GET', 'HEAD' or 'OPTIONS'"),
        ({"kind": "http", "url": "http://shop/", "expect": {"regex": "("}}, "is no regular expression"),
        ({"kind": "wait"}, "exactly one of for, tcp"),
        ({"kind": "wait", "for": "3s", "tcp": {"port": 80}}, "exactly one of for, tcp"),
        ({"kind": "wait", "for_": "3s"}, "Extra inputs"),
        ({"kind": "wait", "tcp": {"port": 0}}, "greater than or equal to 1"),
        ({"kind": "manual", "instructions": ""}, "at least 1 character"),
    ],
    ids=str,
)
def test_a_mistake_is_refused_with_a_remedy(said: Json, told: str) -> None:
    """A step that cannot be meant is refused, and the message says what is right."""
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(said)
    assert told in str(caught.value)


@pytest.mark.parametrize(("subset", "parts"), [("1/30", 30), ("1/1", 1), ("100%", 1), ("10%", 10), ("30%", 4)])
def test_a_share_is_a_number_of_parts(subset: str, parts: int) -> None:
    """A percentage is rounded so that no part is larger than it says."""
    assert parts_of(subset) == parts
