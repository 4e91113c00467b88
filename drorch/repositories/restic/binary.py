"""Finding restic on a host, and bringing it there.

In this order: the one on the host's PATH, the one in drorch's own folder there, and then, on the machine that runs
drorch, one fetched from a newer Debian; on another host that allows it, this machine's own, uploaded.

``python -m drorch.repositories.restic.binary --into DIR`` does it for this machine and prints the path.
"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from drorch.core.clock import Halt
from drorch.core.errors import DrorchError, ResticUnusable, Unreachable
from drorch.core.host import Command, Completed, Ended, Host, LocalHostSpec
from drorch.repositories.restic import argv, parse
from drorch.repositories.restic.argv import MINIMUM, Version
from drorch.repositories.restic.debian import REMEDY, Say, fetch


class Restic(NamedTuple):
    """A usable restic on a host."""

    program: str
    """Its name on the PATH, or its path."""
    version: Version


def ensure(at: Host, folder: str, *, install: bool, own: Callable[[], Path]) -> Restic:
    """The restic of a host other than the controller; ``folder`` is drorch's own for programs there.

    ``own`` gives the controller's binary; it is asked only when it has to be uploaded, which ``install`` allows.

    Raises:
        ResticUnusable: there is none, and none may be or can be brought there.
    """
    found, seen = look(at, folder)
    if found is not None:
        return found
    if not install:
        raise ResticUnusable(
            f"{at.name} has no usable restic: {seen}",
            hint=f"set install_restic: true for {at.name} to have drorch bring its own, or install restic "
            f"{MINIMUM} or newer there",
        )
    return _upload(at, folder, own())


def ensure_here(machine: Host, tools: Path, say: Say = lambda _: None) -> Restic:
    """The restic of the machine that runs drorch, fetched into ``tools`` when there is none.

    Raises:
        ResticUnusable: there is none and none can be fetched.
    """
    found, seen = look(machine, str(tools))
    if found is not None:
        return found
    say(f"no usable restic here: {seen}")
    tools.mkdir(parents=True, exist_ok=True)
    path = str(fetch(machine, tools, say))
    version = _version(machine, path)
    if version is None:
        raise ResticUnusable(f"the restic that was fetched to {path} does not run here", hint=REMEDY)
    return Restic(path, version)


def look(at: Host, folder: str) -> tuple[Restic | None, str]:
    """The best restic that is there already, and what was seen, for a person."""
    on_path = _version(at, argv.RESTIC)
    if on_path is not None and on_path >= MINIMUM:
        return Restic(argv.RESTIC, on_path), f"restic {on_path} on the PATH"
    listing = ("find", folder, "-maxdepth", "1", "-name", "restic-*", "-type", "f", "-printf", "%f\\n")
    names = _answered(at, listing).text.splitlines()
    brought = [Restic(f"{folder}/{name}", version) for name in names if (version := _named(name)) is not None]
    for restic in sorted(brought, key=lambda restic: restic.version, reverse=True):
        if restic.version >= MINIMUM and _version(at, restic.program) == restic.version:
            return restic, f"restic {restic.version} in {folder}"
    seen = f"restic {on_path} on the PATH is older than {MINIMUM}" if on_path else "none on the PATH"
    return None, f"{seen}, none in {folder}"


def _named(name: str) -> Version | None:
    return parse.version(f'{{"version":"{name.removeprefix("restic-")}"}}'.encode()) if name.isprintable() else None


def _version(at: Host, program: str) -> Version | None:
    end = _answered(at, argv.version(program))
    return parse.version(end.stdout) if end.ok else None


def _answered(at: Host, words: tuple[str, ...]) -> Completed:
    """A command that came to its own end: a broken connection never reads as a missing program."""
    end = at.run(Command(words, timeout=60))
    if end.ended is not Ended.EXITED:
        raise Unreachable(end.failure(f"looking for restic on {at.name}").why)
    return end


def _upload(at: Host, folder: str, binary: Path) -> Restic:
    machine = at.run(Command(("uname", "-sm"), timeout=60))
    wanted = _platform(binary)
    if not machine.ok or machine.text.split() != wanted.split():
        raise ResticUnusable(
            f"{at.name} is {machine.text.strip() or 'an unknown machine'}, and the restic here is made for {wanted}",
            hint=f"install restic {MINIMUM} or newer on {at.name}",
        )
    digest = _sha256(binary)
    target = f"{folder}/{binary.name if _named(binary.name) else 'restic-new'}"
    at.put(target, binary, mode=0o700)
    end = at.run(Command(("sha256sum", "--", target), timeout=120))
    if not end.ok or end.text.split(maxsplit=1)[:1] != [digest]:
        at.run(Command(("rm", "-f", "--", target), timeout=60))
        raise ResticUnusable(
            f"the restic uploaded to {at.name} is not the one that was sent, and was removed again",
            hint="see whether its disk is full or failing",
        )
    version = _version(at, target)
    if version is None or version < MINIMUM:
        raise ResticUnusable(
            f"the restic uploaded to {at.name} does not run there",
            hint=f"see that {folder} is not mounted noexec, or install restic {MINIMUM} or newer",
        )
    if _named(target.rpartition("/")[2]) is None:
        named = f"{folder}/restic-{version}"
        moved = at.run(Command(("mv", "-f", "--", target, named), timeout=60))
        target = named if moved.ok else target
    return Restic(target, version)


def path_here(restic: Restic) -> Path:
    """The file of a restic of this machine."""
    found = shutil.which(restic.program)
    if found is None:
        raise ResticUnusable(f"{restic.program} is not on drorch's own PATH", hint=REMEDY)
    return Path(found).resolve()


_MACHINES = {62: "x86_64", 183: "aarch64", 40: "armv7l", 3: "i686", 243: "riscv64", 21: "ppc64le", 22: "s390x"}
"""``uname -m`` by the number of the machine in an ELF header."""


def _platform(binary: Path) -> str:
    with binary.open("rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF":
        return "another system"
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return f"Linux {_MACHINES.get(number, 'another machine')}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(words: list[str] | None = None) -> int:
    """The Makefile's way to a restic: prints its path; what it does goes to standard error."""
    # Loaded here, since only this entry makes a host of its own.
    from drorch.hosts.local import LocalHost  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--into", type=Path, required=True, help="folder for a fetched restic")
    into: Path = parser.parse_args(words).into.absolute()
    machine = LocalHost("controller", LocalHostSpec(work=str(into)), halt=Halt())
    try:
        path = path_here(ensure_here(machine, into, lambda text: print(text, file=sys.stderr, flush=True)))  # noqa: T201 a program's own output
    except DrorchError as error:
        print(f"{error.message}\n  {error.hint}", file=sys.stderr)  # noqa: T201 a program's own output
        return 1
    print(path)  # noqa: T201 a program's own output
    return 0


if __name__ == "__main__":
    sys.exit(main())
