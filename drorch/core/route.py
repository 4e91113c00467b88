"""Routes: ways to tell people. One file in `drorch.notifiers` is one kind."""

from abc import ABC, abstractmethod

from drorch.core.model import Frozen
from drorch.core.secret import Secrets


class Route(Frozen, ABC):
    """A way to tell people, as declared under ``notify:``."""

    kind: str

    @abstractmethod
    def send(self, title: str, body: str, secrets: Secrets) -> None:
        """Deliver a message.

        Raises:
            DrorchError: it was not delivered, or nobody knows whether it was; ``retryable`` says if again may help.
        """
