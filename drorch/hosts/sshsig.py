"""SSH signatures over texts: made and verified by OpenSSH's ``ssh-keygen -Y``, nothing else.

Keys in an agent and on hardware work as they do for logging in. Nothing here holds a private key.
"""

import base64
import hashlib
from collections.abc import Mapping

from drorch.core.evidence import Failure
from drorch.core.host import Command, Completed, Ended, Host

_PATIENCE = 30.0
_TOUCH_PATIENCE = 120.0
"""Seconds that a person has to touch a hardware key, or to allow it in the agent's window."""
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MISSING = (126, 127)
_NO_FOLDER = 125
_SCRIPT = """
umask 077
folder=$(mktemp -d) && cd "$folder" || exit 125
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' HUP INT TERM
count=$1
shift
while [ "$count" -gt 0 ]; do
  printf '%s\\n' "$2" >"$1" || exit 125
  shift 2
  count=$((count - 1))
done
"$@"
"""
"""Takes the number of files, name and content of each, and the command."""


def fingerprint(key: str) -> str:
    """``SHA256:…`` of a public key line, as ssh-keygen shows it; empty for what is none."""
    try:
        blob = base64.b64decode(key.split()[1], validate=True)
    except (IndexError, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def sign(host: Host, text: str, *, namespace: str, path: str | None = None, key: str = "") -> str | Failure:
    """The signature over a text by the key in the file ``path``; without one by the agent's, whose public key is given.

    A key with a passphrase must be in the agent: nobody is asked for it here.
    """
    argv = ("ssh-keygen", "-Y", "sign", "-n", namespace, "-f", path or "key.pub")
    done = host.run(_beside(argv, {"key.pub": key}, text, _TOUCH_PATIENCE))
    if done.ok and _BEGIN in done.text:
        return done.text
    return _failed(
        done,
        "signing",
        "has the key a passphrase, then put it in the agent first: ssh-add FILE; or sign on another machine:"
        " drorch approve RUN --request",
    )


def verify(host: Host, text: str, signature: str, *, person: str, key: str, namespace: str) -> Failure | None:
    """Why this is no signature over the text by the owner of the public key; None when it is."""
    signature = signature.strip()
    if not signature.startswith(_BEGIN) or not signature.endswith(_END) or "\0" in signature:
        return Failure(why="there is no SSH signature", hint=f"it begins with {_BEGIN}: hand in the file FILE.sig")
    owner = " ".join(key.split()[:2])
    files = {"signers": f'{person} namespaces="{namespace}" {owner}', "signature": signature}

    def ask(*words: str) -> Completed:
        argv = ("ssh-keygen", "-Y", *words, "-n", namespace, "-s", "signature")
        return host.run(_beside(argv, files, text, _PATIENCE))

    done = ask("verify", "-f", "signers", "-I", person)
    if done.ok:
        return None
    if done.ended is not Ended.EXITED or done.exit_code in (_NO_FOLDER, *_MISSING):
        return _failed(done, "verifying the signature")
    whose = ask("check-novalidate")
    if not whose.ok:
        return Failure(
            why=f"{person}'s signature is not over this request: {done.errors or 'it does not verify'}",
            hint="sign exactly what drorch approve RUN --request prints, as it is",
        )
    by = next((word for word in whose.text.split() if word.startswith("SHA256:")), "an unknown one")
    return Failure(
        why=f"it was signed with the key {by}, and {person}'s is {fingerprint(owner)}",
        hint=f"sign with {person}'s own key; which one that is stands under people: in the inventory",
    )


def _failed(done: Completed, what: str, hint: str = "") -> Failure:
    if done.exit_code in _MISSING:
        hint = "ssh-keygen of OpenSSH 8.2 or later is needed: apt-get install openssh-client"
    if done.exit_code == _NO_FOLDER:
        hint = "is the disk full?"
    return done.failure(f"{what} with ssh-keygen", hint=hint)


def _beside(argv: tuple[str, ...], files: Mapping[str, str], text: str, patience: float) -> Command:
    """A command in a folder of its own, in which these files lie, gone with its end. Only what is public lies there."""
    written = tuple(word for file in files.items() for word in file)
    words = ("sh", "-c", _SCRIPT, "sh", str(len(files)), *written, *argv)
    return Command(words, stdin=text.encode("utf-8", "surrogateescape"), timeout=patience)
