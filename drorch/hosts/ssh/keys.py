"""Keys: the controller's own, and those that machines show."""

import base64
import hashlib
import io
from contextlib import suppress
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from drorch.core.errors import HostError, UntrustedHost
from drorch.core.host import SshHostSpec
from drorch.core.secret import Secrets

_RSA = ("rsa-sha2-512", "rsa-sha2-256")


def key_line(key: paramiko.PKey) -> str:
    """A public key as inventories pin it: ``type base64``."""
    return f"{key.get_name()} {key.get_base64()}"


def fingerprint(line: str) -> str:
    """``SHA256:…`` of a public key line, as ssh-keygen shows it.

    Raises:
        HostError: it is no public key line.
    """
    fields = line.split()
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (IndexError, ValueError) as error:
        raise HostError(
            f"{line!r} is no public key", hint="a pinned key reads `ssh-ed25519 AAAA…`; drorch host trust writes it"
        ) from error
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def judge(name: str, pinned: str | None, shown: str) -> None:
    """Compare the key that a machine shows with the pinned one.

    Raises:
        UntrustedHost: they differ, or none is pinned.
    """
    remedy = f"drorch host trust {name}"
    kind = shown.partition(" ")[0]
    if pinned is None:
        raise UntrustedHost(f"{name}: no host key is pinned; the host shows {fingerprint(shown)} ({kind})", hint=remedy)
    if pinned.split()[:2] != shown.split()[:2]:
        raise UntrustedHost(
            f"{name}: the host shows the key {fingerprint(shown)} ({kind}), "
            f"and the inventory pins {fingerprint(pinned)} ({pinned.partition(' ')[0]})",
            hint=f"somebody may be in between, or the machine was replaced; if you know that it was: {remedy}",
        )


def preferred(known: tuple[str, ...], pinned: str | None) -> tuple[str, ...]:
    """Host key algorithms in the order to ask for them: the pinned key's own first, so a host with several shows it."""
    kind = (pinned or "ssh-ed25519").strip().partition(" ")[0]
    first = _RSA if kind == "ssh-rsa" else (kind,)
    return tuple(sorted(known, key=lambda algorithm: algorithm not in first))


def private_keys(name: str, spec: SshHostSpec, secrets: Secrets) -> tuple[paramiko.PKey, ...]:
    """The keys to log in with, in order: the file's alone, or else the agent's.

    Raises:
        HostError: the file cannot be used, or the agent holds none.
        SecretError: its passphrase cannot be had.
    """
    if spec.key is not None:
        return (_from_file(name, spec, Path(spec.key).expanduser(), secrets),)
    with suppress(paramiko.SSHException, OSError):
        if keys := paramiko.Agent().get_keys():
            return tuple(keys)
    raise HostError(
        f"{name}: no key to log in with: none is named and the SSH agent holds none",
        hint=f"set hosts.{name}.key to a private key file, or start ssh-agent",
    )


def _from_file(name: str, spec: SshHostSpec, path: Path, secrets: Secrets) -> paramiko.PKey:
    password = secrets.get(spec.key_passphrase).reveal() if spec.key_passphrase else None
    try:
        key = _load(path.read_bytes(), password.encode() if password is not None else None)
        certificate = path.with_name(path.name + "-cert.pub")
        if certificate.exists():
            key.load_certificate(str(certificate))
    except OSError as error:
        raise HostError(
            f"{name}: cannot read the key {path}: {error.strerror}", hint=f"correct hosts.{name}.key, or make the key"
        ) from error
    except (TypeError, ValueError, UnsupportedAlgorithm, paramiko.SSHException):
        # Their texts may quote the key, and a wrong passphrase is told in many ways.
        hint = (
            "is key_passphrase the right one, and the key encrypted at all?"
            if spec.key_passphrase
            else f"an encrypted key needs hosts.{name}.key_passphrase"
        )
        raise HostError(f"{name}: the key {path} cannot be opened", hint=hint) from None
    return key


def _load(data: bytes, password: bytes | None) -> paramiko.PKey:
    if b"BEGIN OPENSSH PRIVATE KEY" in data:
        opened = load_ssh_private_key(data, password)
    else:
        opened = load_pem_private_key(data, password)  # type: ignore[assignment]  # the kinds that matter are told apart below
    kind: type[paramiko.PKey]
    match opened:
        case Ed25519PrivateKey():
            kind = paramiko.Ed25519Key
        case EllipticCurvePrivateKey():
            kind = paramiko.ECDSAKey
        case RSAPrivateKey():
            kind = paramiko.RSAKey
        case _:
            raise ValueError("not a kind of key that OpenSSH still takes")
    plain = opened.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return kind.from_private_key(io.StringIO(plain))
