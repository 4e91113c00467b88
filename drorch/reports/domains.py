"""Single points of failure: what all copies have in common. Pure; the inventory's word.

A value of `core.host.Domain` that the live data and every backup that counts share ends all of them at once; one that
all backups share ends them while the live data lasts. A value that nobody wrote down is named as such: it may well be
shared.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from drorch.config.inventory import Inventory, Service
from drorch.core.model import SecretRef
from drorch.core.secret import SecretSpec
from drorch.reports import places
from drorch.reports.copies import Copy
from drorch.reports.places import Place, comparable, value

_SHARED: Final[Mapping[str, str]] = {
    "provider": "{who} are run by one provider: {value}",
    "region": "{who} stand in one region: {value}",
    "account": "{who} lie in one account: {value}",
    "payer": "{who} are paid by one account: {value}",
    "key_holder": "one person holds the keys of {who}: {value}",
    "dns": "{who} are found under one domain name: {value}",
}
_REMEDY: Final[Mapping[str, str]] = {
    "provider": "keep a copy with another provider",
    "region": "keep a copy in another region",
    "account": "keep a copy in an account that nobody reaches from this one",
    "payer": "let another account pay for a copy",
    "key_holder": "give a second person the keys of a copy",
    "dns": "name a copy by another domain, or by its address",
}
_UNKNOWN: Final[Mapping[str, str]] = {
    "provider": "who runs",
    "region": "where the region is of",
    "account": "which account holds",
    "payer": "who pays for",
    "key_holder": "who holds the keys of",
    "dns": "which domain name leads to",
}


@dataclass(frozen=True, slots=True)
class Weakness:
    """One thing on which too much depends."""

    what: str
    do: str
    kind: Literal["shared", "unlocked", "unknown"]
    """Several copies depend on it; it keeps nobody from deleting a copy; nobody knows."""


def weaknesses(
    service: Service, inventory: Inventory, copies: Sequence[Copy], *, immutable: bool
) -> tuple[Weakness, ...]:
    """The weaknesses of a service's copies, the worst first. Only copies that count are compared."""
    home, *others = copies
    backups = [copy for copy in others if copy.counts]
    standbys = [(name, places.of_host(name, inventory)) for name in service.standbys if name in inventory.hosts]
    return (
        *_shared(service, home, backups, standbys),
        *_one_secret(inventory, backups),
        *_unlocked(inventory, backups, immutable=immutable),
        *_unknown(home, others, standbys),
    )


# -- domains -----------------------------------------------------------------------------------------------------------


def _shared(
    service: Service, home: Copy, backups: Sequence[Copy], standbys: Sequence[tuple[str, Place]]
) -> Iterator[Weakness]:
    for field in places.FIELDS:
        of_standbys = [place for _, place in standbys]
        of_backups = [copy.place for copy in backups]
        wholly = backups and _same(field, [home.place, *of_backups])
        beside = standbys and _same(field, [home.place, *of_standbys])
        if wholly:
            who = f"{_all(len(backups) + 1, 'copies')}{' and every standby' if beside else ''}"
            yield _weakness(field, who, home.place)
        elif len(backups) > 1 and _same(field, of_backups):
            yield _weakness(field, _all(len(backups), "backups"), backups[0].place)
        if beside and not wholly:
            names = ", ".join(name for name, _ in standbys)
            who = f"{service.primary} and its standby {names}" if len(standbys) == 1 else f"{service.primary}, {names}"
            remedy = _REMEDY[field].replace("a copy", "a standby")
            yield Weakness(_SHARED[field].format(who=who, value=value(home.place.domain, field)), remedy, "shared")


def _same(field: str, among: Sequence[Place]) -> bool:
    said = {comparable(place.domain, field) for place in among}
    return len(said) == 1 and "" not in said


def _weakness(field: str, who: str, one: Place) -> Weakness:
    return Weakness(_SHARED[field].format(who=who, value=value(one.domain, field)), _REMEDY[field], "shared")


def _all(count: int, word: str) -> str:
    return f"both {word}" if count == 2 else f"all {count} {word}"  # noqa: PLR2004 - a word of its own


def _unknown(home: Copy, others: Sequence[Copy], standbys: Sequence[tuple[str, Place]]) -> Iterator[Weakness]:
    """One line for all that lack the same."""
    known = {home.name: home.place, **dict(standbys), **{copy.name: copy.place for copy in others}}
    lacking: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, place in known.items():
        fields = (field for field in places.FIELDS if field != "dns" or place.named)
        if missing := tuple(field for field in fields if not value(place.domain, field)):
            lacking[missing].append(name)
    for missing, names in lacking.items():
        subject = ", ".join(names)
        if len(missing) == 1:
            what = f"nobody wrote down {_UNKNOWN[missing[0]]} {subject}"
        else:
            words = [field.replace("_", " ") for field in missing]
            what = f"nobody wrote down for {subject}: {_both(words)}"
        keys = [known[name].domain_key for name in names]
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        yield Weakness(what, f"{keys[0]}{more} in drorch.yaml", "unknown")


# -- secrets and locks -------------------------------------------------------------------------------------------------


def _one_secret(inventory: Inventory, backups: Sequence[Copy]) -> Iterator[Weakness]:
    """Passwords that open several copies, and credentials that reach several or may do everything."""
    opens: dict[SecretSpec | str, list[str]] = defaultdict(list)
    reaches: dict[SecretSpec | str, list[str]] = defaultdict(list)
    names: dict[SecretSpec | str, str] = {}

    def identity(reference: SecretRef) -> SecretSpec | str:
        """What two references share when they lead to one value."""
        found = inventory.secrets.get(reference.secret) or reference.secret
        names.setdefault(found, reference.secret)
        return found

    for copy in backups:
        opens[identity(inventory.repositories[copy.repository].password)].append(copy.name)
        used = [identity(reference) for reference in _credentials(inventory, copy)]
        for one in set(used):
            reaches[one].append(copy.name)
        if copy.store and len(used) > len(set(used)):
            what = f"one credential writes to {copy.name} and deletes there: secret {names[used[0]]}"
            yield Weakness(what, f"drorch store policy {copy.name} prints what each of two needs", "shared")
    for secret, where in opens.items():
        if len(where) > 1:
            what = f"one password opens {_both(where)}: secret {names[secret]}"
            yield Weakness(what, "add {kind: copy, to: …}: that repository has a password of its own", "shared")
    for secret, where in reaches.items():
        if len(set(where)) > 1:
            what = f"one credential reaches {_both(list(dict.fromkeys(where)))}: secret {names[secret]}"
            yield Weakness(what, "give each place a credential of its own", "shared")


def _credentials(inventory: Inventory, copy: Copy) -> tuple[SecretRef, ...]:
    """What opens the place itself, the writer's first; what opens the snapshots there is the password."""
    if copy.store:
        return inventory.stores[copy.store].credentials_named()
    return tuple(dict.fromkeys(inventory.repositories[copy.repository].credentials.values()))


def _both(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _unlocked(inventory: Inventory, backups: Sequence[Copy], *, immutable: bool) -> Iterator[Weakness]:
    """Stores from which whoever holds the credential can delete: where that is all, or where a lock could be had."""
    for store in dict.fromkeys(copy.store for copy in backups if copy.store):
        spec = inventory.stores[store]
        if spec.lock is None and (spec.kind == "s3" or not immutable):
            can = spec.kind == "s3"
            do = f"give it a lock: under stores.{store}" if can else "mirror to an s3 store with a lock: too"
            yield Weakness(f"nothing locks what is in {store}: who can write there can destroy it", do, "unlocked")
