"""Route 53 by boto3: all of boto3 that leads customers is here. Nothing of this machine is consulted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from drorch.core.accesskey import Keys
from drorch.core.errors import SwitchError
from drorch.core.host import printable
from drorch.switches._names import canonical

REGION = "us-east-1"
"""What requests to Route 53 are signed for, wherever the zone is used."""
CONNECT = 5.0
READ = 15.0

_T = TypeVar("_T")
_PASSING = frozenset(
    {"Throttling", "ThrottlingException", "PriorRequestNotComplete", "ServiceUnavailable", "InternalFailure"}
)
_HINTS: Mapping[str, str] = {
    "NoSuchHostedZone": "correct `zone:`; it is the id, such as Z0123456789ABCDEFGHIJ",
    "AccessDenied": "the key needs route53:ListResourceRecordSets, ChangeResourceRecordSets and GetChange",
    "InvalidClientTokenId": "no such access key: check the id in the secret",
    "SignatureDoesNotMatch": "check the key's secret in the secret, and the clock here",
    "ExpiredToken": "the session's key has ended: renew it",
}


class Changed(SwitchError):
    """The record is not what it was taken to be, or the change was made before."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record as Route 53 has it."""

    values: frozenset[str]
    """In their one form."""
    ttl: int
    raw: tuple[str, ...]
    """As Route 53 spells them: it compares them so."""
    special: str
    """Why it is none that a switch can replace, such as an alias; empty for a plain one."""


@dataclass(frozen=True, slots=True, repr=False)
class Zone:
    """A hosted zone, with the means to change it."""

    id: str
    client: Any

    def find(self, name: str, kind: str) -> Found:
        """The record of a name; no values where there is none.

        Raises:
            SwitchError: no usable answer.
        """
        listed = _asked(
            lambda: self.client.list_resource_record_sets(
                HostedZoneId=self.id, StartRecordName=name, StartRecordType=kind, MaxItems="2"
            )["ResourceRecordSets"]
        )
        wanted = name.replace("*", "\\052").lower()
        sets = [each for each in listed if (each["Name"].lower(), each["Type"]) == (wanted, kind)]
        if not sets:
            return Found(frozenset(), 0, (), "")
        first = sets[0]
        special = (
            "an alias"
            if "AliasTarget" in first
            else "one of several by weight, place or health" * (len(sets) > 1 or "SetIdentifier" in first)
        )
        raw = tuple(each["Value"] for each in first.get("ResourceRecords", ()))
        try:
            values = frozenset(canonical(kind, each) for each in raw)
        except ValueError as error:
            raise SwitchError(f"Route 53 has {name} with a value that cannot be: {error}") from None
        return Found(values, int(first.get("TTL", 0)), raw, special)

    def swap(self, name: str, kind: str, *, old: Found, new: str, ttl: int, comment: str) -> str:
        """Delete exactly the old record and create the new one, both or neither; gives the change's id.

        Raises:
            Changed: the record was another one by then.
            SwitchError: refused, or no usable answer.
        """

        def part(action: str, values: tuple[str, ...], ttl: int) -> dict[str, object]:
            records = [{"Value": each} for each in values]
            return {
                "Action": action,
                "ResourceRecordSet": {"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": records},
            }

        gone = [part("DELETE", old.raw, old.ttl)] if old.values else []
        batch = {"Comment": comment[:256], "Changes": [*gone, part("CREATE", (new,), ttl)]}
        change = self.client.change_resource_record_sets
        return _asked(lambda: str(change(HostedZoneId=self.id, ChangeBatch=batch)["ChangeInfo"]["Id"]))

    def everywhere(self, change: str) -> bool:
        """Whether all name servers of Route 53 have a change.

        Raises:
            SwitchError: no usable answer.
        """
        return _asked(lambda: bool(self.client.get_change(Id=change)["ChangeInfo"]["Status"] == "INSYNC"))


def zone(name: str, keys: Keys, endpoint: str | None) -> Zone:
    """A hosted zone by its id."""
    return Zone(name, _client(keys, endpoint))


@lru_cache(maxsize=4)  # to make one takes up to half a second, which customers would wait for
def _client(keys: Keys, endpoint: str | None) -> Any:  # noqa: ANN401 - boto3's clients have no types
    known = botocore.session.Session.SESSION_VARIABLES.items()
    settings = {key: (None, None, default, convert) for key, (_file, _env, default, convert) in known}
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, "/dev/null", None))
    session = botocore.session.Session(session_vars=settings | files)
    return session.create_client(
        "route53",
        region_name=REGION,
        aws_access_key_id=keys.id,
        aws_secret_access_key=keys.secret,
        aws_session_token=keys.token or None,
        endpoint_url=endpoint,
        config=Config(
            connect_timeout=CONNECT,
            read_timeout=READ,
            # A change that is sent again is refused when it was made already, and then the record itself is asked.
            retries={"total_max_attempts": 3, "mode": "standard"},
            proxies={},
        ),
    )


def _asked(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        said = printable(str(error.response.get("Error", {}).get("Message", "")))[:300]
        if code == "InvalidChangeBatch":
            raise Changed(
                f"Route 53 refuses the change: {said or code}",
                hint="somebody else changes the record; look, then retry",
            ) from None
        raise SwitchError(
            f"Route 53 refuses: {code}: {said}",
            hint=_HINTS.get(code, "see what it says"),
            retryable=code in _PASSING,
        ) from None
    except (BotoCoreError, ResponseParserError, KeyError, TypeError, ValueError) as error:
        raise SwitchError(
            f"no usable answer of Route 53: {printable(str(error))[:300]}",
            hint="is it reachable from here?",
            retryable=True,
        ) from None
