"""Every error that drorch raises on purpose.

    DrorchError                 what is wrong, what to do, can a retry help
    ├── ConfigError             the documents are wrong: every problem, each with file:line
    ├── SettingsError           a DRORCH_ variable or the state folder is unusable
    ├── SecretError             a secret cannot be had
    ├── HostError               a host cannot be used
    │   ├── Unreachable         no connection; a retry may help
    │   ├── UntrustedHost       its key is not the pinned one, or none is pinned
    │   └── WrongHost           its identity is not the expected one; nothing was done
    ├── RepositoryError         restic or its repository refused
    │   ├── RepositoryMissing   there is no repository there (never a reason to create one)
    │   ├── RepositoryLocked    another process holds it; a retry may help
    │   ├── WrongPassword       the password opens no key
    │   ├── StreamFailed        the command whose output was to be stored failed or gave nothing
    │   └── ResticUnusable      no restic, or one too old
    ├── StoreError              a store of off-site copies refused or cannot be used
    │   ├── StoreUnreachable    no answer, or none in time; a retry may help
    │   ├── StoreDenied         the credential is wrong, expired, or may not do this
    │   ├── ObjectMissing       no such object
    │   ├── AlreadyThere        it was to be written only if absent, and there is one
    │   └── ContentRefused      what was sent does not match its checksum
    ├── SwitchError             what leads customers refused, or gave no usable answer
    ├── RunError                a run cannot be started, found, resumed or answered
    │   ├── Busy                another process works on it
    │   ├── NoSuchRun
    │   └── UnknownName         no service, runbook, host or repository of that name
    ├── KitError                a recovery kit cannot be made, opened or believed
    │   └── WrongKey            it is sealed for another key or passphrase
    └── Refused                 a safety rule says no
    Interrupted                 (BaseException) stop at once and record nothing: the step will be done again

Foreign exceptions are translated at one place per library, next to its import. Inside a step an error may be raised;
the engine turns it into a `Failure` value at the attempt's border, since exceptions do not survive a replay.
"""

from dataclasses import dataclass


class DrorchError(Exception):
    """An error with a remedy."""

    retryable = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a document."""

    file: str
    line: int
    """1-based; 0 where the file as a whole is meant."""
    key: str
    """Dotted path of the key, such as ``hosts.web1.adress``; empty for the document itself."""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}:{key} {self.message}{hint}"


class ConfigError(DrorchError):
    """The documents are wrong."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingsError(DrorchError):
    """A setting is unusable."""


class SecretError(DrorchError):
    """A secret cannot be had."""


class HostError(DrorchError):
    """A host cannot be used."""


class Unreachable(HostError):
    """No connection."""

    retryable = True


class UntrustedHost(HostError):
    """The host key is not the pinned one."""


class WrongHost(HostError):
    """Another machine than the one that was meant."""


class RepositoryError(DrorchError):
    """The repository refused."""


class RepositoryMissing(RepositoryError):
    """No repository there."""


class RepositoryLocked(RepositoryError):
    """Another process holds the repository."""

    retryable = True


class WrongPassword(RepositoryError):
    """The password opens no key."""


class StreamFailed(RepositoryError):
    """The command whose output was to be stored failed or gave nothing; no snapshot was kept."""

    def __init__(self, message: str, *, errors: str, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.errors = errors
        """What the command wrote to its standard error: printable, its end."""


class ResticUnusable(RepositoryError):
    """No usable restic."""


class StoreError(DrorchError):
    """A store refused or cannot be used."""


class StoreUnreachable(StoreError):
    """No answer from a store."""

    retryable = True


class StoreDenied(StoreError):
    """The credential is wrong, expired, or may not do this."""


class ObjectMissing(StoreError):
    """No such object."""


class AlreadyThere(StoreError):
    """It was to be written only if absent."""


class ContentRefused(StoreError):
    """What was sent does not match its checksum."""


class SwitchError(DrorchError):
    """What leads customers refused, or gave no usable answer."""


class RunError(DrorchError):
    """A run cannot be started, found, resumed or answered."""


class Busy(RunError):
    """Another process works on it."""

    retryable = True


class NoSuchRun(RunError):
    """Unknown run."""


class UnknownName(RunError):
    """The documents define nothing of that name."""


class KitError(DrorchError):
    """A recovery kit cannot be made, opened or believed."""


class WrongKey(KitError):
    """It is sealed for another key or passphrase."""


class Refused(DrorchError):
    """A safety rule says no."""


class Interrupted(BaseException):
    """The operator or the system asked to stop.

    It passes through every ``except Exception``, the engine's included, so the attempt leaves no record and is done
    again on resume.
    """
