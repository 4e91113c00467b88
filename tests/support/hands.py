"""A person's hands on a site: processes started and ended, runbooks written, effects counted."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.site import Site


@contextmanager
def running(site: Site, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A drorch process that is killed at the end if it still runs."""
    process = site.start(*words)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def eventually(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until something is true, with a deadline."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.05)


def runbook(site: Site, name: str, steps: str, kind: str = "maintenance") -> None:
    """Write a runbook of the shop."""
    text = f"runbook: {name}\nkind: {kind}\nservice: shop\nsteps:\n{steps}"
    (site.folder / "runbooks" / f"{name}.yaml").write_text(text)


def touched(site: Site, name: str) -> int:
    """How often the runbook's command has been performed."""
    path = site.folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def appending(site: Site, name: str, then: str = "true", more: str = "") -> str:
    """A step that notes each time it is performed, then does something."""
    line = f"echo performed >> {site.folder / name}; {then}"
    return f"  - {{kind: command, id: {name}, host: primary, run: [sh, -c, {line!r}]{more}}}\n"
