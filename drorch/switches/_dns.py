"""DNS messages, and what name servers answer to them. All of dnspython is here; everything goes over TCP."""

import base64
import binascii

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.update

from drorch.core.errors import SecretError, SwitchError
from drorch.core.host import printable
from drorch.switches._names import canonical
from drorch.switches._records import Answer, Record, Server, Signer

PATIENCE = 5.0
"""Seconds that one question may take."""


def ask(server: Server, record: Record, *, authority: bool, signer: Signer | None = None) -> Answer:
    """What a server says of a record: of its own authority, or from its cache.

    Raises:
        SwitchError: no usable answer.
        HostError: nothing answers there.
    """
    message = dns.message.make_query(
        _owner(record), dns.rdatatype.from_text(record.type), flags=0 if authority else dns.flags.RD
    )
    reply = _talk(server, message, signer)
    code = reply.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise _refusal(server, code, "the question")
    if authority and not reply.flags & dns.flags.AA:
        raise SwitchError(
            f"{server} has no authority over {record.zone}",
            hint="say the address of the zone's primary under `server:`",
        )
    found = reply.get_rrset(reply.answer, _owner(record), dns.rdataclass.IN, dns.rdatatype.from_text(record.type))
    if found is None and not authority:
        found = next((rrset for rrset in reply.answer if rrset.rdtype == dns.rdatatype.from_text(record.type)), None)
    if found is None and reply.answer:
        other = dns.rdatatype.to_text(reply.answer[0].rdtype)
        raise SwitchError(
            f"{record.full} is a {other} at {server}, no {record.type}", hint="correct `type:` or `name:`"
        )
    if found is None:
        return Answer(frozenset(), 0)
    try:
        return Answer(frozenset(canonical(record.type, each.to_text()) for each in found), found.ttl)
    except ValueError as error:
        raise SwitchError(f"{record.full} at {server}: {error}", hint="look at the zone") from None


def swap(
    server: Server,
    record: Record,
    *,
    old: frozenset[str],
    new: str | None,
    ttl: int = 0,
    signer: Signer | None = None,
) -> None:
    """Replace a record's values if they are exactly the old ones; without a new one nothing is changed, and only asked
    whether it could be.

    Raises:
        SwitchError: they are not; or refused, or no usable answer: then nobody knows what became of it.
        HostError: nothing answers there.
    """
    message = dns.update.UpdateMessage(_origin(record))
    name = _owner(record)
    if old:
        # RFC 2136, 2.4.2: the TTL of a prerequisite is 0.
        values = [
            dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(record.type), each) for each in sorted(old)
        ]
        message.present(name, dns.rdataset.from_rdata_list(0, values))
    else:
        message.absent(name, record.type)
    if new is not None:
        message.replace(name, ttl, record.type, new)
    code = _talk(server, message, signer).rcode()
    if code in (dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN):
        raise SwitchError(
            f"{record.full} at {server} is not what it was a moment ago",
            hint="somebody else changes it; look, then retry",
        )
    if code != dns.rcode.NOERROR:
        raise _refusal(server, code, f"an update of {record.full}")


def _talk(server: Server, message: dns.message.Message, signer: Signer | None) -> dns.message.Message:
    if signer is not None:
        key = _key(signer)
        message.use_tsig({key.name: key}, key.name, algorithm=key.algorithm)
    try:
        with server.host.dial(server.address, server.port, timeout=PATIENCE) as plain:
            plain.setblocking(False)  # noqa: FBT003 - the library's signature
            reply = dns.query.tcp(message, server.address, timeout=PATIENCE, sock=plain)
    except dns.tsig.PeerError as error:
        raise _distrust(server, error, signer) from None
    except (dns.tsig.BadSignature, dns.tsig.BadTime, dns.message.UnknownTSIGKey) as error:
        raise SwitchError(
            f"the answer of {server} is not signed by the key: {_said(error)}",
            hint="is that the right server, and is the clock here right?",
        ) from None
    except dns.exception.Timeout:
        raise SwitchError(f"{server} gives no answer within {PATIENCE:g} s", retryable=True) from None
    except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
        if signer is not None and isinstance(error, dns.exception.FormError):
            raise _unsigned(server) from None
        raise SwitchError(f"{server} gives no usable answer: {_said(error)}", retryable=True) from None
    if signer is not None and not reply.had_tsig and reply.rcode() == dns.rcode.NOERROR:
        raise _unsigned(server)
    return reply


def _unsigned(server: Server) -> SwitchError:
    return SwitchError(
        f"{server} answers without the key's signature, as one does that refuses",
        hint="is it the zone's primary, is `zone:` right, and does it take this key?",
    )


def _distrust(server: Server, error: dns.tsig.PeerError, signer: Signer | None) -> SwitchError:
    name = signer.name if signer else ""
    words = {
        dns.tsig.PeerBadKey: (
            f"knows no key {name}, or does not take it for this",
            "correct the key's name or algorithm, or let it update that name: `acl` of Knot, `update-policy` of BIND",
        ),
        dns.tsig.PeerBadSignature: (f"has another secret for key {name}", "correct the key's secret, here or there"),
        dns.tsig.PeerBadTime: ("finds that the clocks differ too much", "set the clock here or there: NTP"),
    }
    what, hint = words.get(type(error), (f"refuses the signature: {_said(error)}", "look at the key"))
    return SwitchError(f"{server} {what}", hint=hint)


def _refusal(server: Server, code: dns.rcode.Rcode, what: str) -> SwitchError:
    hints = {
        dns.rcode.REFUSED: "let the key update that name there: `update-policy` of BIND, `acl` of Knot",
        dns.rcode.NOTAUTH: "it has no authority over that zone, or does not take this key; say the zone's primary",
        dns.rcode.NOTZONE: "the name is not in that zone: correct `zone:` or `name:`",
        dns.rcode.NOTIMP: "it takes no updates by RFC 2136",
    }
    return SwitchError(
        f"{server} answers {dns.rcode.to_text(code)} to {what}",
        hint=hints.get(code, "look at its log"),
        retryable=code == dns.rcode.SERVFAIL,
    )


def _said(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}".rstrip(": "))[:200]


def _origin(record: Record) -> dns.name.Name:
    return dns.name.from_text(record.zone)


def _owner(record: Record) -> dns.name.Name:
    return dns.name.from_text(record.name, _origin(record))


def _key(signer: Signer) -> dns.tsig.Key:
    try:
        raw = base64.b64decode(signer.secret.reveal().strip(), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError(
            f"secret {signer.secret.name} is no TSIG secret", hint="it is the base64 text of the key's `secret`"
        ) from None
    return dns.tsig.Key(dns.name.from_text(signer.name), raw, dns.name.from_text(signer.algorithm))
