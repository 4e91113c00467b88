"""Secrets by name."""

from typing import Protocol, final

from drorch.core.model import SecretRef


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
