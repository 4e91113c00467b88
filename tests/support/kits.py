"""Kits made by hand, sound and hostile, and programs that ask for passphrases at a terminal."""

import io
import os
import pty
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from drorch.vault.kit import INVENTORY, Manifest, digests, pack
from drorch.vault.signing import Signer

MADE = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Keys:
    """Private keys, each with its public half."""

    age: Path
    age_public: str
    ssh: Path
    ssh_public: str


def make_keys(folder: Path) -> Keys:
    """Keys as the standard tools make them."""
    age, ssh = folder / "age.txt", folder / "id_ed25519"
    subprocess.run(["age-keygen", "-o", age], check=True, capture_output=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@laptop", "-f", ssh], check=True)
    public = subprocess.run(["age-keygen", "-y", age], check=True, capture_output=True, text=True).stdout.strip()
    return Keys(age, public, ssh, ssh.with_name("id_ed25519.pub").read_text().strip())


def packed(signer: Signer, files: Mapping[str, bytes] | None = None) -> bytes:
    """A small sound kit."""
    whole = {INVENTORY: b"site: acme\n", "secrets/nas": b"planted-nas-value\n", **(files or {})}
    manifest = Manifest(
        made=MADE,
        by="ada@ctl",
        drorch="0",
        site="acme",
        signer=signer.public,
        documents="",
        plans={},
        files=digests(whole),
    )
    return pack(manifest, whole, signer.sign)


def members(archive: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """What is in an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [(one, stream.read() if (stream := opened.extractfile(one)) else b"") for one in opened]


def archived(content: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """An archive of just that, believed or not."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for one, data in content:
            archive.addfile(one, io.BytesIO(data))
    return out.getvalue()


def typed(argv: Sequence[str | Path], answers: Sequence[str], env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code of a program at a terminal of its own, and what that showed; each answer follows a colon."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *argv], stdin=slave, stdout=slave, stderr=slave, env=dict(env) if env else None
    ) as process:
        os.close(slave)
        shown, waiting, fresh = b"", list(answers), 0
        with suppress(OSError):  # the terminal is gone with the program
            while read := os.read(master, 4096):
                shown += read
                if waiting and shown[fresh:].rstrip().endswith(b":"):
                    fresh = len(shown)
                    os.write(master, waiting.pop(0).encode() + b"\n")
        os.close(master)
        code = process.wait(timeout=60)
    return code, shown.decode("utf-8", "replace")
