"""A run's own folder on a host: where it is, made private, removed whole."""

import posixpath

from drorch.core.errors import Refused
from drorch.core.evidence import Failure
from drorch.core.host import Command, Host, Identity
from drorch.core.scene import Scene, slug
from drorch.core.source import Destination


def absolute(path: str, identity: Identity) -> str:
    """A path of a host with ``~`` replaced by its user's home."""
    if path == "~" or path.startswith("~/"):
        return identity.home.rstrip("/") + path[1:]
    return path


def run_folder(scene: Scene, run: str, host: str, identity: Identity) -> str:
    """The absolute path of everything that a run puts on a host.

    Raises:
        Refused: it would not lie in the host's working folder, so nothing may be written or removed there.
    """
    work = absolute(scene.work[host], identity)
    folder = absolute(scene.folder(run, host), identity)
    kind = "drills" if scene.drill else "restores"
    if (
        not work.startswith("/")
        or posixpath.normpath(work) == "/"
        or ".." in work.split("/")
        or not slug(run).strip("-_")
        or posixpath.normpath(folder) != posixpath.join(posixpath.normpath(work), kind, slug(run))
    ):
        raise Refused(
            f"{folder} on {host} is no folder of this run within {work}",
            hint=f"give {host} a working folder of its own: `work:` in the inventory",
        )
    return posixpath.normpath(folder)


def destination(scene: Scene, run: str, source: str, host: str, identity: Identity) -> Destination:
    """Where a run restores a source to, with an absolute path."""
    declared = scene.destination(run, source, host)
    return declared.model_copy(update={"directory": f"{run_folder(scene, run, host, identity)}/{source}"})


def levels(folder: str, *below: str) -> tuple[str, ...]:
    """A run's folder with its two parents, and the folders below it, outermost first."""
    drills = posixpath.dirname(folder)
    return (posixpath.dirname(drills), drills, folder, *(f"{folder}/{name}" for name in below))


def make_command(paths: tuple[str, ...]) -> Command:
    """Make folders that only their owner may enter; those that exist become private."""
    return Command(("install", "-d", "-m", "700", "--", *paths))


def make(host: Host, paths: tuple[str, ...]) -> Failure | None:
    """Make these folders, outermost first."""
    done = host.run(make_command(paths))
    return (
        None if done.ok else done.failure(f"making {paths[-1]} on {host.name}", hint="is the disk full or read-only?")
    )


def exists(host: Host, path: str) -> bool | Failure:
    """Whether there is anything of that name, be it a broken link."""
    done = host.run(Command(("find", path, "-maxdepth", "0"), env={"LC_ALL": "C"}))
    if done.ok:
        return True
    if done.exit_code == 1 and b"No such file" in done.stderr:
        return False
    return done.failure(f"looking for {path} on {host.name}")


def children(host: Host, path: str) -> tuple[str, ...] | Failure:
    """The names of the folders right below a folder, sorted; empty when there is no such folder."""
    there = exists(host, path)
    if isinstance(there, Failure):
        return there
    if not there:
        return ()
    done = host.run(Command(("find", path, "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-print0")))
    if not done.ok or done.truncated:
        return done.failure(f"listing {path} on {host.name}")
    return tuple(
        sorted(name.rpartition(b"/")[2].decode("utf-8", "surrogateescape") for name in done.stdout.split(b"\0") if name)
    )


def remove_command(path: str) -> Command:
    """Remove a folder with everything in it."""
    return Command(("rm", "-rf", "--", path))


def remove(host: Host, path: str) -> Failure | None:
    """Remove a folder with everything in it; nothing there is success. Checks that nothing is left."""
    done = host.run(remove_command(path))
    if not done.ok and not done.exit_code:
        return done.failure(f"removing {path} on {host.name}")
    if not done.ok:
        # A restored folder may be closed to its own owner; find opens each before it goes into it.
        host.run(Command(("find", path, "-type", "d", "!", "-perm", "-700", "-exec", "chmod", "u+rwx", "{}", ";")))
        done = host.run(remove_command(path))
        if not done.ok:
            return done.failure(f"removing {path} on {host.name}", hint="remove it by hand, then retry")
    left = exists(host, path)
    if isinstance(left, Failure):
        return left
    return Failure(why=f"{path} on {host.name} is still there", hint="see who writes into it") if left else None
