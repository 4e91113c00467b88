"""Trials of a bucket's locks: can a locked version be deleted, can its lock be shortened."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from drorch.core.errors import StoreError
from drorch.core.store import Lock, Trial
from drorch.stores._s3 import parse
from drorch.stores._s3.bench import SHORT, SILENT, Bench, iso, md5_header, open_trial, refused, shown
from drorch.stores._s3.bucket import Tried
from drorch.stores._s3.place import Role
from drorch.stores._s3.wire import Request

_DELETION = ("locked_deletion", "to delete a version that is locked")
_SHORTENING = ("locked_shortening", "to end a lock sooner than it said")
_NAME = "locked"


@dataclass(frozen=True, slots=True)
class _Locked:
    """The version that is tried."""

    bench: Bench
    lock: Lock
    version: str
    until: datetime


def lock_trials(bench: Bench) -> tuple[Trial, ...]:
    """Shortening first, since deletion may leave nothing to try it on; given in the order of a probe."""
    lock = bench.bucket.lock
    if lock is None:
        why = "no lock is declared for this store"
        return open_trial(*_DELETION, why), open_trial(*_SHORTENING, why)
    if bench.silent:
        return open_trial(*_DELETION, SILENT), open_trial(*_SHORTENING, SILENT)
    try:
        locked = _locked(bench, lock)
    except StoreError as error:
        bench.silences += 1
        return open_trial(*_DELETION, error.message), open_trial(*_SHORTENING, error.message)
    if isinstance(locked, str):
        return _failed(_DELETION, locked), _failed(_SHORTENING, locked)
    shortening = _shortening(locked)
    return _deletion(locked, enforced=shortening.good is True), shortening


def _failed(trial: tuple[str, str], why: str) -> Trial:
    return Trial(name=trial[0], what=trial[1], good=False, answer=why)


def _locked(bench: Bench, lock: Lock) -> _Locked | str:
    """A version with a lock on it, or why there is none.

    Raises:
        StoreError: that could not be found out.
    """
    content = bench.fresh()
    tried = bench.put(_NAME, content, md5_header(content))
    if not tried.done:
        if refused(tried):
            return f"it takes nothing with a lock: {shown(tried)}"
        raise StoreError(f"nothing could be locked: {shown(tried)}")
    version = str(tried.output.get("x-amz-version-id", ""))
    if not version or version == "null":
        return "it took what was to be locked, and keeps no versions"
    stands = _stands(bench, version)
    if isinstance(stands, Tried):
        raise StoreError(f"what was locked cannot be looked at: {shown(stands)}")
    mode, until = stands
    if mode != lock.mode or until is None:
        return f"it took what was to be locked, and has {mode or 'no'} lock on it"
    return _Locked(bench, lock, version, until)


def _stands(bench: Bench, version: str) -> tuple[str, datetime | None] | Tried:
    """Mode and end of a version's lock as recorded; the answer itself when it cannot be looked at."""
    tried = bench.head(_NAME, version)
    if not tried.done:
        return tried
    until = parse.moment(str(tried.output.get("x-amz-object-lock-retain-until-date", "")))
    return str(tried.output.get("x-amz-object-lock-mode", "")).lower(), until


# -- shortening --------------------------------------------------------------------------------------------------------


def _shortening(locked: _Locked) -> Trial:
    try:
        good, answer = _shortened(locked)
    except StoreError as error:
        return open_trial(*_SHORTENING, error.message)
    return Trial(name=_SHORTENING[0], what=_SHORTENING[1], good=good, answer=answer)


def _shortened(locked: _Locked) -> tuple[bool | None, str]:
    longer = locked.until + timedelta(seconds=30)
    extended = _retain(locked, longer)
    if not extended.done:
        return None, f"it cannot be extended either: {shown(extended)}"
    before = _stands(locked.bench, locked.version)
    if isinstance(before, Tried) or before[1] is None or before[1] < longer - timedelta(seconds=1):
        return None, "it said that it extended a lock, which does not show"
    tried = _retain(locked, locked.until - SHORT / 2)
    after = _stands(locked.bench, locked.version)
    if isinstance(after, Tried):
        return None, f"{shown(tried)}; the lock cannot be looked at: {shown(after)}"
    if after != before:
        return False, "it did" if tried.done else f"it said no ({shown(tried)}) and did it all the same"
    return (True, shown(tried)) if refused(tried) else (None, f"{shown(tried)}; yet the lock stands as it was")


def _retain(locked: _Locked, until: datetime) -> Tried:
    document = (
        '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Mode>{locked.lock.mode.upper()}</Mode><RetainUntilDate>{iso(until)}</RetainUntilDate></Retention>"
    ).encode()
    query = (("retention", ""), ("versionId", locked.version))
    bench = locked.bench
    return bench.bucket.raw_send(Request("PUT", bench.key(_NAME), query, md5_header(document), document))


# -- deletion ----------------------------------------------------------------------------------------------------------


def _deletion(locked: _Locked, *, enforced: bool) -> Trial:
    try:
        good, answer = _deleted(locked, enforced=enforced)
    except StoreError as error:
        return open_trial(*_DELETION, error.message)
    return Trial(name=_DELETION[0], what=_DELETION[1], good=good, answer=answer)


def _deleted(locked: _Locked, *, enforced: bool) -> tuple[bool | None, str]:
    """``enforced``: whether the store was seen to refuse to shorten this very lock.

    The writer also tries to pass by the lock, as a thief of its key would; the deleter does not: where it has that
    right, it was given on purpose.
    """
    attempts: list[tuple[Role, bool]] = [("writer", False)]
    attempts += [("deleter", False)] if locked.bench.bucket.may_delete else []
    attempts += [("writer", True)]
    said, able = [], False
    for role, bypass in attempts:
        tried = locked.bench.delete(_NAME, locked.version, role=role, bypass=bypass)
        who = f"the {role}{', asking to pass by the lock' if bypass else ''}"
        there = _stands(locked.bench, locked.version)
        if isinstance(there, Tried):
            gone = there.status == 404  # noqa: PLR2004 - HTTP's own number
            answer = f"{who} deleted it" if gone else f"it cannot be looked at any more: {shown(there)}"
            return (False if gone else None), answer
        if not refused(tried):
            return None, f"to {who}: {shown(tried)}; yet it is still there"
        said.append(f"to {who}: {shown(tried)}")
        able = able or (not bypass and _may_delete(locked.bench, role))
    if able or enforced:
        why = "" if able else "; no credential here may delete anything, and the lock was seen to hold when shortened"
        return True, "; ".join(said) + why
    return None, "; ".join(said) + "; no credential here may delete anything, so nothing shows that the lock refused"


def _may_delete(bench: Bench, role: Role) -> bool:
    """Whether that credential may delete versions at all: shown on a delete marker, which no lock protects."""
    marked = bench.delete("marker", role=role)
    marker = str(marked.output.get("x-amz-version-id", ""))
    return marked.done and bool(marker) and bench.delete("marker", marker, role=role).done
