"""Secrets by name."""

from typing import Annotated, Protocol, Self, final, runtime_checkable

from pydantic import Field, StringConstraints, model_validator

from drorch.core.model import Frozen, Json, SecretRef


class SecretSpec(Frozen):
    """Where a secret's value comes from: exactly one of env, file, command, credential."""

    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Name of an environment variable of the drorch process."""
    file: Annotated[str, StringConstraints(min_length=1)] | None = None
    """A file; its last newline is dropped. Refused when others than its owner can read it."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """A command on the controller that prints the value; its last newline is dropped."""
    credential: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_@:-][A-Za-z0-9_@:.-]*$")] | None = None
    """The name of a file in systemd's ``$CREDENTIALS_DIRECTORY``."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        said = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if len(said) != 1:
            msg = f"must have exactly one of env, file, command, credential; has {', '.join(said) or 'none'}"
            raise ValueError(msg)
        return self


@final
class Secret:
    """A secret value that cannot be printed, formatted, compared, pickled or serialised by accident."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """The value itself: only where it is handed to the process or library that needs it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> tuple[object, ...]:
        msg = f"secret {self.name} cannot be pickled"
        raise TypeError(msg)


class Secrets(Protocol):
    """Where values come from."""

    def get(self, ref: SecretRef) -> Secret:
        """The secret of that name.

        Raises:
            SecretError: it is unknown, empty, unreadable, or its file is readable by others.
        """
        ...

    def redact(self, text: str) -> str:
        """The text with every value handed out so far replaced by ``[secret NAME]``."""
        ...

    def redact_json(self, value: Json) -> Json:
        """The JSON value with every text in it redacted, keys included."""
        ...


@runtime_checkable
class Renewing(Protocol):
    """Secrets that can be read again, for values that end: a session's key that something outside renews."""

    def renew(self, ref: SecretRef) -> Secret:
        """The secret of that name, read anew; what was handed out before stays redacted.

        Raises:
            SecretError: as `Secrets.get`.
        """
        ...
