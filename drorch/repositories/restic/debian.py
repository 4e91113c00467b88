"""restic from a newer Debian suite, without root: apt itself fetches and verifies it, into a folder of drorch's own.

Mirror and keyring are those of the machine's own apt configuration, and apt checks every signature as it always does;
nothing here weakens that. Only apt's lists, cache and sources are private, so the system's own are left alone.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from drorch.core.errors import ResticUnusable
from drorch.core.host import Command, Completed, Host
from drorch.repositories.restic.argv import MINIMUM, RECOMMENDED, Version

SUITES = ("forky", "sid", "trixie")
"""In the order they are asked: the first with the recommended version ends the search. All run on Debian 12 too."""

_FORMAT = "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)|$(SOURCESENTRY)"
Say = Callable[[str], None]


class Mirror(NamedTuple):
    """Where the machine gets its own packages."""

    uri: str
    signed_by: str
    """The keyring that its entry names; empty for apt's default ones."""

    def entry(self, suite: str) -> str:
        """The line of a sources list."""
        option = f" [signed-by={self.signed_by}]" if self.signed_by else ""
        return f"deb{option} {self.uri} {suite} main\n"


def fetch(machine: Host, into: Path, say: Say, *, mirror: Mirror | None = None) -> Path:
    """Put ``restic-VERSION`` into a folder of this machine and give its path.

    Raises:
        ResticUnusable: no suite has a new enough one, or apt cannot be used or reached.
    """
    found = mirror or own_mirror(machine)
    best: tuple[Version, str] | None = None
    trouble: list[str] = []
    # A folder for each call: apt locks its lists, and several drorch processes may begin on one machine at once.
    with tempfile.TemporaryDirectory(prefix="apt-", dir=into.absolute()) as made:
        work = Path(made)
        for suite in SUITES:
            say(f"looking for restic in Debian {suite} at {found.uri}")
            version = _offered(machine, work / suite, found, suite, trouble)
            if version is not None and version >= MINIMUM and (best is None or version > best[0]):
                best = (version, suite)
            if version is not None and version >= RECOMMENDED:
                break
        if best is None:
            raise ResticUnusable(
                f"no restic from {MINIMUM} on could be fetched from {found.uri}: "
                f"{'; '.join(trouble) or 'none is offered'}",
                hint=REMEDY,
            )
        say(f"fetching restic {best[0]}")
        unpacked = _unpacked(machine, work / best[1])
        target = into / f"restic-{best[0]}"
        unpacked.chmod(0o755)
        unpacked.replace(target)
        return target


REMEDY = (
    f"put restic {RECOMMENDED} or newer (at least {MINIMUM}) on the PATH: from a newer release of your system, "
    "or the binary from the releases page of github.com/restic/restic"
)


def own_mirror(machine: Host) -> Mirror:
    """The Debian mirror of the machine's apt configuration.

    Raises:
        ResticUnusable: it has none.
    """
    end = machine.run(Command(("apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"), timeout=60))
    for line in end.text.splitlines() if end.ok else ():
        origin, component, uri, sourced = (*line.split("|"), "", "", "", "")[:4]
        if origin == "Debian" and component == "main" and "security" not in uri:
            return Mirror(uri, _keyring(machine, sourced))
    raise ResticUnusable("this machine's apt names no Debian mirror to fetch restic from", hint=REMEDY)


def _keyring(machine: Host, sourced: str) -> str:
    """The keyring that the entry of a sources file names; ``sourced`` is ``FILE:NUMBER`` as apt gives it."""
    file, _, number = sourced.rpartition(":")
    if not file:
        return ""
    return signed_by(machine.get(file).decode("utf-8", "replace"), int(number) if number.isdigit() else 1)


def signed_by(text: str, number: int) -> str:
    """The keyring file that an entry of a sources file names: a line's option, or a stanza's ``Signed-By``.

    ``number`` counts lines in the one-line style and stanzas in the other, from 1.
    """
    lines = text.splitlines()
    if 0 < number <= len(lines):
        option = re.match(r"\s*deb\s+\[[^]]*\bsigned-by=([^\s\]]+)", lines[number - 1])
        if option:
            return option[1]
    stanzas = [stanza for stanza in re.split(r"\n\s*\n", text) if re.search(r"(?im)^types:", stanza)]
    if 0 < number <= len(stanzas):
        field = re.search(r"(?im)^signed-by:[ \t]*(/\S+)[ \t]*$", stanzas[number - 1])
        return field[1] if field else ""
    return ""


def _offered(machine: Host, folder: Path, mirror: Mirror, suite: str, trouble: list[str]) -> Version | None:
    """The version that a suite offers, asked anew; ``folder`` is apt's for this suite."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True, mode=0o755)
    (folder / "sources.list").write_text(mirror.entry(suite), "utf-8")
    end = _apt(machine, folder, "update")
    if not end.ok or b"\nE:" in b"\n" + end.stderr:
        trouble.append(f"{suite}: {end.errors or end.ended}")
        return None
    end = _apt(machine, folder, "download", "--print-uris", "restic")
    found = re.search(r" restic_(?:\d+%3a)?(\d+)\.(\d+)\.(\d+)[^ ]*\.deb ", end.text)
    if not end.ok or found is None:
        trouble.append(f"{suite}: {end.errors or 'it has no restic'}")
        return None
    return Version(*map(int, found.groups()))


def _unpacked(machine: Host, folder: Path) -> Path:
    """The program from the package that the suite of this folder offers."""
    end = _apt(machine, folder, "download", "restic")
    packages = sorted(folder.glob("restic_*.deb"))
    if not end.ok or not packages:
        raise ResticUnusable(f"restic could not be fetched: {end.errors}", hint=REMEDY)
    end = machine.run(Command(("dpkg", "-x", str(packages[-1]), str(folder / "root")), timeout=120))
    unpacked = folder / "root" / "usr" / "bin" / "restic"
    if not end.ok or not unpacked.is_file():
        raise ResticUnusable(f"restic's package could not be unpacked: {end.errors}", hint=REMEDY)
    return unpacked


def _apt(machine: Host, folder: Path, *words: str) -> Completed:
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Acquire::http::Timeout": "30",
        "APT::Get::List-Cleanup": "false",
        # With the private folders below one of root's, apt's own unprivileged user could not enter them.
        "APT::Sandbox::User": "",
    }
    settings = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return machine.run(Command(("apt-get", "-q", *settings, *words), env={"LC_ALL": "C"}, timeout=600, cwd=str(folder)))
