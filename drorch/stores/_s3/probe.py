"""Trials of a bucket: what a safe one refuses, asked on tiny objects of their own below ``drorch-probe/``.

A refusal alone shows nothing: a credential that may not write at all is refused everything. So each trial has a
counterpart, the same request but right, which must be taken and read back first; and what was refused is looked for
afterwards, since a store can say no and keep it all the same. A store that only fails, or does not answer, leaves a
trial open.
"""

import hashlib
import secrets as randomness
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from drorch.core.errors import StoreError
from drorch.core.store import Probe, Trial
from drorch.stores._s3.bench import SILENT, Bench, base64_of, md5_header, open_trial, refused, sha256_headers, shown
from drorch.stores._s3.bucket import Bucket, Tried
from drorch.stores._s3.locking import lock_trials

_WHAT = {
    "wrong_sha256": "to take content with the SHA-256 of other content",
    "wrong_md5": "to take content with the MD5 of other content",
    "tampered_payload": "to take content whose signature is of other content",
    "second_put": "to write, only if absent, what is there already",
    "customer_key": "to encrypt with a key that only the writer knows",
}


def probe(bucket: Bucket) -> Probe:
    """Every trial. Its objects are locked for a short time where the store locks; those are removed by a later probe.

    Raises:
        StoreError: there is no credential.
    """
    bench = Bench(bucket)
    bench.sweep()
    try:
        trials = [_settled(name, bench, trial) for name, trial in _TRIALS.items()]
        return Probe(trials=(*trials[:-1], *lock_trials(bench), trials[-1]))
    finally:
        bench.clear()


def _settled(name: str, bench: Bench, trial: Callable[[Bench], tuple[bool | None, str]]) -> Trial:
    what = _WHAT[name]
    if bench.silent:
        return open_trial(name, what, SILENT)
    try:
        good, answer = trial(bench)
    except StoreError as error:
        bench.silences += 1
        return open_trial(name, what, error.message)
    return Trial(name=name, what=what, good=good, answer=answer)


# -- content that does not match ---------------------------------------------------------------------------------------


def _wrong_sha256(bench: Bench) -> tuple[bool | None, str]:
    content, other = bench.fresh(), bench.fresh()
    counterpart = _taken(bench, "right-sha256", content, md5_header(content) | sha256_headers(content))
    if counterpart:
        return None, counterpart
    tried = bench.put("wrong-sha256", content, md5_header(content) | sha256_headers(other))
    return _kept_out(bench, "wrong-sha256", tried)


def _wrong_md5(bench: Bench) -> tuple[bool | None, str]:
    content, other = bench.fresh(), bench.fresh()
    counterpart = _taken(bench, "right-md5", content, md5_header(content))
    if counterpart:
        return None, counterpart
    return _kept_out(bench, "wrong-md5", bench.put("wrong-md5", content, md5_header(other)))


def _tampered(bench: Bench) -> tuple[bool | None, str]:
    """The MD5 is of what is sent, as if whoever tampered had known to mend it: only the signature tells."""
    content, other = bench.fresh(), bench.fresh()
    counterpart = _taken(bench, "right-payload", content, md5_header(content))
    if counterpart:
        return None, counterpart
    return _kept_out(bench, "tampered", bench.put("tampered", content, md5_header(content), signed=other))


def _taken(bench: Bench, name: str, content: bytes, headers: Mapping[str, str]) -> str:
    """Empty when a right put is taken and can be read back; else why the trial says nothing."""
    tried = bench.put(name, content, headers)
    if not tried.done:
        return f"what is right is not taken either: {shown(tried)}"
    there, found = bench.get(name)
    if not there.done:
        return f"it said that it took what is right, which cannot be read: {shown(there)}"
    return "" if found == content else "it said that it took what is right, and gives back other bytes"


def _kept_out(bench: Bench, name: str, tried: Tried) -> tuple[bool | None, str]:
    """Whether what is wrong was refused and is not there."""
    if tried.done:
        return False, "it did"
    if not refused(tried):
        return None, shown(tried)
    absent, said = bench.absent(name)
    if absent is None:
        return None, f"{shown(tried)}; whether it kept it all the same cannot be told: {said}"
    if not absent:
        return False, f"it said no ({shown(tried)}) and kept it all the same"
    return True, shown(tried)


# -- put if absent -----------------------------------------------------------------------------------------------------


def _second_put(bench: Bench) -> tuple[bool | None, str]:  # noqa: PLR0911 - each way in which it can end
    first, second = bench.fresh(), bench.fresh()
    absent = {"If-None-Match": "*"}
    tried = bench.put("once", first, md5_header(first) | absent)
    if tried.code == "NotImplemented" or tried.status == HTTPStatus.NOT_IMPLEMENTED:
        return False, f"it knows no such condition: {shown(tried)}"
    if not tried.done:
        return None, f"the first was not taken either: {shown(tried)}"
    tried = bench.put("once", second, md5_header(second) | absent)
    there, found = bench.get("once")
    if tried.done:
        return False, "it did" if found == second else "it said that it did"
    if not refused(tried):
        return None, shown(tried)
    if not there.done:
        return None, f"{shown(tried)}; whether the first is still there cannot be told: {shown(there)}"
    if found != first:
        return False, f"it said no ({shown(tried)}) and replaced it all the same"
    return True, shown(tried)


# -- keys that can make copies unreadable ------------------------------------------------------------------------------


def _customer_key(bench: Bench) -> tuple[bool | None, str]:
    content = bench.fresh()
    plain = bench.put("plain", content, md5_header(content))
    default = _default_key(bench, plain)
    if default:
        return False, default
    if not plain.done:
        return None, f"a plain put is not taken either: {shown(plain)}"
    tried = bench.put("sealed", content, md5_header(content) | _key_headers(randomness.token_bytes(32)))
    if tried.done:
        there, found = bench.get("sealed")
        if there.done and found == content:
            return True, "it ignores such keys: what was written with one can be read without"
        return False, "it did: a thief of the writer's key could make copies unreadable; block SSE-C at the provider"
    unknown = tried.status == HTTPStatus.NOT_IMPLEMENTED or tried.code == "NotImplemented"
    clear = bench.bucket.place.endpoint.startswith("http://")
    if clear and not unknown and tried.code != "AccessDenied":
        return None, f"without TLS: {shown(tried)}; it may do it over https"
    return (True if unknown or refused(tried) else None), shown(tried)


def _key_headers(key: bytes) -> dict[str, str]:
    return {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64_of(key),
        "x-amz-server-side-encryption-customer-key-MD5": base64_of(hashlib.md5(key, usedforsecurity=False).digest()),
    }


def _default_key(bench: Bench, plain: Tried) -> str:
    """A warning when everything is encrypted with a key that somebody could take away; empty for none seen."""
    name = str(plain.output.get("x-amz-server-side-encryption-aws-kms-key-id", ""))
    if not name:
        asked = bench.bucket.raw("get_bucket_encryption")
        rules: Any = asked.output.get("ServerSideEncryptionConfiguration", {}).get("Rules", []) if asked.done else []
        for rule in rules:
            default = rule.get("ApplyServerSideEncryptionByDefault", {})
            if str(default.get("SSEAlgorithm", "")).startswith("aws:kms"):
                name = str(default.get("KMSMasterKeyID", "the account's own"))
    if not name:
        return ""
    return f"everything is encrypted by default with key {name}: whoever can take that away makes all copies unreadable"


_TRIALS = {
    "wrong_sha256": _wrong_sha256,
    "wrong_md5": _wrong_md5,
    "tampered_payload": _tampered,
    "second_put": _second_put,
    "customer_key": _customer_key,
}
