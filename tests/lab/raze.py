"""Takes a lab down, whatever is left of it: processes, namespaces, mounts, files. Standard library only."""

import contextlib
import fcntl
import subprocess
import time
from pathlib import Path

from lab import paths

_PATIENCE = 20.0


def raze(number: int) -> None:
    """Leave nothing of that lab; whoever calls holds its lock."""
    end_processes(paths.group(number))
    remove_spaces(number)
    unmount_below(paths.folder(number))
    with contextlib.suppress(FileNotFoundError):
        paths.folder(number).rmdir()


def sweep() -> None:
    """Raze every lab whose owner and keeper are both dead."""
    for file in paths.RUN.glob("*.lock"):
        with file.open("a") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raze(int(file.stem))


def end_processes(group: Path) -> None:
    """Kill all processes of a control group and of those below it, at once, without a farewell; remove the groups.

    Raises:
        TimeoutError: the kernel does not let go of one.
    """
    limit = time.monotonic() + _PATIENCE
    while group.exists():
        with contextlib.suppress(OSError):
            (group / "cgroup.kill").write_text("1")
        for below in sorted(group.rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                below.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
        if time.monotonic() > limit:
            raise TimeoutError(f"{group} does not end")
        time.sleep(0.002)


def unmount_below(folder: Path) -> None:
    """Unmount what is mounted at a folder or below it, the last first."""
    mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    ours = [where for where in mounts if where == str(folder) or where.startswith(f"{folder}/")]
    if ours:
        subprocess.run(["umount", "--lazy", *reversed(ours)], check=True, capture_output=True)


def remove_spaces(number: int, machine: str | None = None) -> None:
    """Remove the network namespace of a machine, or all of the lab; their cables go with them."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0] for line in listed.splitlines() if line.strip()}
    if machine is None:
        names = {name for name in names if name.split("-")[0] == paths.space(number)}
    else:
        names &= {paths.space(number, machine)}
    for name in names:
        # Somebody else may be faster.
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
