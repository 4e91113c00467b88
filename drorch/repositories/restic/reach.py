"""Running restic's commands at a host: where the repository is from there, what the process is given, and locks."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from drorch.core.errors import DrorchError, RepositoryError, RepositoryMissing
from drorch.core.host import Command, Completed, Host, HostSpec, LineSink
from drorch.core.repository import RepositorySpec
from drorch.core.secret import Secret, Secrets
from drorch.core.store import Reading
from drorch.repositories.restic import argv, binary, endings, pair
from drorch.repositories.restic.argv import Common
from drorch.repositories.restic.mirrored import Caches, stored
from drorch.repositories.restic.serve import Server, storage

DOCUMENT_LIMIT = 256 << 20
"""Bytes of one answer; a listing of a million snapshots is smaller."""

DEFAULT_WORK = "~/.drorch"
_ONE_FETCH = threading.Lock()

Build = Callable[[Common], tuple[str, ...]]
Environment = dict[str, str | Secret]


@dataclass(frozen=True, slots=True)
class Site:
    """What is known about a host, asked once per process."""

    restic: binary.Restic
    work: str
    home: str
    root: bool
    """Whether commands run as root, so that a restore sets owners."""
    controller: bool
    """Whether it is the controller."""

    def expand(self, path: str) -> str:
        """The path with ``~`` as the home of the host's user.

        Raises:
            RepositoryError: it is not absolute then.
        """
        return expand(path, self.home)


def expand(path: str, home: str) -> str:
    """The path with ``~`` as the home given."""
    if path == "~" or path.startswith("~/"):
        path = home.rstrip("/") + path[1:]
    if not path.startswith("/"):
        raise RepositoryError(f"{path} is not an absolute path", hint="begin it with / or ~/")
    return path


class Reach:
    """One repository as seen from any host."""

    def __init__(
        self,
        name: str,
        spec: RepositorySpec,
        *,
        secrets: Secrets,
        controller: Host,
        state: Path,
        hosts: Mapping[str, HostSpec],
        first_wait: str,
        lock_wait: str,
        reading: Reading | None = None,
    ) -> None:
        foreign = spec.url.split(":", 1)[0]
        if foreign in {"b2", "azure", "gs", "swift", "rclone"} and ":" in spec.url:
            raise RepositoryError(
                f"{name}: drorch does not know storages of the kind {foreign}", hint="use a path, sftp:, rest: or s3:"
            )
        self.name = name
        self.spec = spec
        self.secrets = secrets
        self.controller = controller
        self.shown = f"{name} ({_without_password(spec.url)})"
        """Name and address, for messages."""
        self._reading = reading
        self._state = state
        self._hosts = hosts
        self._first_wait = first_wait
        self._lock_wait = lock_wait
        self._sites: dict[str, Site] = {}
        self._site_locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._caches = Caches()

    def site(self, at: Host) -> Site:
        """A host made ready: drorch's folders are there, and a usable restic.

        Raises:
            ResticUnusable: there is none.
            HostError: the host cannot be used.
        """
        with self._lock:
            lock = self._site_locks.setdefault(at.name, threading.Lock())
        with lock:
            if at.name not in self._sites:
                self._sites[at.name] = self._prepare(at)
            return self._sites[at.name]

    def _prepare(self, at: Host) -> Site:
        identity = at.identity()
        spec = self._hosts.get(at.name)
        default = str(self._state / "work") if at.is_controller else DEFAULT_WORK
        work = expand(spec.work if spec else default, identity.home)
        made = at.run(
            Command(("mkdir", "-p", "-m", "700", "--", work, *(f"{work}/{sub}" for sub in _FOLDERS)), timeout=60)
        )
        if not made.ok:
            raise RepositoryError(f"{at.name}: {work} cannot be made: {made.errors}", hint="set another `work` folder")
        if at.is_controller:
            restic = self._own()
        else:
            install = spec.install_restic if spec else False
            restic = binary.ensure(at, f"{work}/bin", install=install, own=lambda: binary.path_here(self._own()))
        return Site(restic, work, identity.home, root=identity.user == "root", controller=at.is_controller)

    def _own(self) -> binary.Restic:
        with _ONE_FETCH:
            return binary.ensure_here(self.controller, self._state / "bin")

    def execute(
        self,
        at: Host,
        build: Build,
        what: str,
        *,
        good: tuple[int, ...] = (endings.OK,),
        on_line: LineSink | None = None,
        extra: Mapping[str, str | Secret] | None = None,
        source: "Reach | None" = None,
    ) -> Completed:
        """Run a command of restic's; a lock that stays is met by one plain `unlock` and one more, longer try. A cache
        that cannot be opened is done without: an attacker encrypts that too.

        ``source`` is a second repository that the command reads; then it can run on the controller only.

        Raises:
            RepositoryError: it ended in another way than ``good`` allows.
        """
        site = self.site(at)
        with self.opened(at) as place:
            both = self._beside(at, source, place, what) if source else place
            env = self._environment(at, site, both, extra or {}, what)
            common = self.common(site)
            if source is not None:
                # Of two repositories, `--no-lock` is for the one that is read.
                theirs = source.common(site)
                common = replace(theirs, options=tuple(dict.fromkeys((*common.options, *theirs.options))))

            def run(words: tuple[str, ...]) -> Completed:
                return at.run(Command(words, env=env, output_limit=DOCUMENT_LIMIT), on_line=on_line)

            end = run(build(common))
            if endings.without_cache(end):
                common = replace(common, further=(*common.further, "--no-cache"))
                end = run(build(common))
            if end.exit_code == endings.LOCKED and not self.reading:
                at.run(Command(argv.unlock(common), env=env))
                if source is not None:
                    source.clear(at)
                end = run(build(replace(common, retry_lock=self._lock_wait)))
        end = replace(
            end,
            stderr=self.secrets.redact(end.stderr.decode("utf-8", "surrogateescape")).encode(
                "utf-8", "surrogateescape"
            ),
        )
        if end.exit_code not in good:
            raise self.failure(end, what, source)
        if end.truncated and on_line is None:
            raise RepositoryError(f"{what}: restic's answer is longer than {DOCUMENT_LIMIT} bytes")
        return end

    def failure(self, end: Completed, what: str, source: "Reach | None" = None) -> DrorchError:
        """The error that an end other than success means."""
        error = endings.failure(end, what, f"{self.shown} or {source.shown}" if source else self.shown)
        if self.reading and isinstance(error, RepositoryMissing):
            hint = "an unmounted disk looks just the same: mount it; or mirror to it first"
            return RepositoryMissing(f"{what}: there is no mirror at {self.shown}", hint=hint)
        if self.reading and type(error) is RepositoryError and not error.retryable:
            return RepositoryError(
                error.message,
                hint="if somebody may have added files to the store or overwritten them, do not read it in place: "
                "drorch recover STORE --as-of TIME --to FOLDER takes only what is right",
            )
        return error

    def only_if_writable(self, what: str) -> None:
        """Stop before anything is written to a mirror.

        Raises:
            RepositoryError: this is one.
        """
        if self.reading:
            raise RepositoryError(
                f"{what}: {self.shown} is a mirror, and only read where it lies",
                hint="work on the repository itself; drorch recover makes one of the mirror",
            )

    def common(self, site: Site) -> Common:
        """What all its commands share where restic runs."""
        return Common(
            site.restic.program,
            retry_lock=self._first_wait,
            options=argv.extended(self.spec.url),
            reading=self.reading,
            # Where it is reached through the controller, these are the server's.
            further=self._reading.options if self._reading and site.controller else (),
            version=site.restic.version,
        )

    @property
    def reading(self) -> bool:
        """Whether it can only be read: a mirror in its store."""
        return self._reading is not None

    @property
    def password(self) -> Secret:
        """What opens it."""
        return self.secrets.get(self.spec.password)

    def clear(self, at: Host) -> None:
        """Remove stale locks, if that can be done."""
        if not self.reading:
            with suppress(RepositoryError):
                self.execute(at, argv.unlock, f"unlocking {self.shown}")

    def _beside(self, at: Host, source: "Reach", place: Environment, what: str) -> Environment:
        """The variables by which one process reaches this repository and a second one, of which it reads."""
        if not at.is_controller:
            raise RepositoryError(f"{what}: {at.name} is not the controller, the only place that may hold both keys")
        with source.opened(at) as theirs:
            both = pair.environment(place, theirs)
        if isinstance(both, str):
            raise RepositoryError(
                f"{what}: {source.shown} and {self.shown} want different values of {both}, and restic takes only one",
                hint="put the copy at sftp: or rest:, or keep a mirror in a store instead",
            )
        return {**both, "RESTIC_FROM_PASSWORD": source.password}

    def _environment(
        self, at: Host, site: Site, place: Environment, extra: Mapping[str, str | Secret], what: str
    ) -> Environment:
        own: Environment = {
            **place,
            "RESTIC_PASSWORD": self.secrets.get(self.spec.password),
            "RESTIC_CACHE_DIR": self._caches.at(at, site.work) if self.reading else f"{site.work}/cache",
            "RESTIC_PROGRESS_FPS": "2",
            "TMPDIR": f"{site.work}/tmp",  # noqa: S108 - in the host's own folder, 0700
            "TZ": "UTC",
        }
        taken = sorted(key for key in extra if key in own or key.startswith(("RESTIC_", "RCLONE_")))
        if taken:
            raise RepositoryError(
                f"{what}: the command's variable {taken[0]} is one that restic itself reads",
                hint="give it to the command in another way, such as a file of its own",
            )
        return {**extra, **own}

    @contextmanager
    def opened(self, at: Host) -> Iterator[Environment]:
        """The variables that tell restic at a host where the repository is."""
        url = self.spec.url
        served = self.spec.served or self.reading  # no other host is given a store's credential
        if at.is_controller or not (served or self.spec.is_path):
            yield {"RESTIC_REPOSITORY": self._own_place() if self.spec.is_path else url, **self._storage_environment()}
            return
        if not served:
            raise RepositoryError(
                f"{at.name} cannot reach {self.shown}, a folder of the controller",
                hint="leave out through_controller: false",
            )
        with self._serving().use() as door, at.publish(door.socket) as port:
            yield {
                "RESTIC_REPOSITORY": f"rest:http://127.0.0.1:{port}/",
                "RESTIC_REST_USERNAME": door.user,
                "RESTIC_REST_PASSWORD": door.password,
            }

    def _storage_environment(self) -> Environment:
        return dict(self._reading.env) if self._reading else dict(self._credentials())

    def _credentials(self) -> dict[str, Secret]:
        return {name: self.secrets.get(ref) for name, ref in self.spec.credentials.items()}

    def _own_place(self) -> str:
        return f"local:{self._folder()}"

    def _folder(self) -> str:
        path = self.spec.url.removeprefix("local:")
        return expand(path, self.controller.identity().home) if path.startswith("~") else str(Path(path).absolute())

    def _serving(self) -> Server:
        with self._lock:
            if self._server is None:
                url = self._folder() if self.spec.is_path else self.spec.url
                place = stored(url, self._reading) if self._reading else storage(url, self._credentials())
                self._server = Server(self.controller, place, only_reading=self.reading)
            return self._server

    @property
    def keeper(self) -> Host | None:
        """The host from which snapshots can be removed when the others may only append; None when all may."""
        return self.controller if self.spec.served else None

    def close(self) -> None:
        """End the server, if one runs, and leave nothing of a mirror behind."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()
        self._caches.close()


_FOLDERS = ("bin", "cache", "tmp")


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition(":")
    parts = urlsplit(rest)
    if not parts.password:
        return url
    shown = parts._replace(netloc="…@" + parts.netloc.rpartition("@")[2])
    return f"{scheme}:{urlunsplit(shown)}"
