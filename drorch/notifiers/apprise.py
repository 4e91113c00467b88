"""Chat, mail, pagers and a hundred other services, through Apprise."""

import logging
from typing import TYPE_CHECKING, Literal

from drorch.core.errors import DrorchError
from drorch.core.model import SecretRef
from drorch.core.route import Route
from drorch.core.secret import Secrets

if TYPE_CHECKING:
    from types import ModuleType


class Apprise(Route):
    """Services that Apprise knows, such as ``slack://``, ``ntfys://``, ``mailtos://``, ``tgram://``."""

    kind: Literal["apprise"]
    url: SecretRef
    """One or more Apprise URLs, separated by spaces or commas; secret, because they carry tokens and passwords."""

    def send(self, title: str, body: str, secrets: Secrets) -> None:
        """Deliver a message to every URL; it is delivered when all of them took it."""
        library = _library()
        address = secrets.get(self.url).reveal()
        # Plain text all the way: what a service would read as markup is escaped for it. Nothing is kept on disk.
        asset = library.AppriseAsset(
            app_id="drorch", app_desc="drorch", app_url="", async_mode=False, storage_mode="memory", secure_logging=True
        )
        targets = library.Apprise(asset=asset)
        try:
            known = bool(targets.add(address)) and len(targets) > 0
            # True, or since 2.0 a result that is true only when every service took it.
            taken = known and bool(targets.notify(title=title, body=body, body_format="text"))
        except Exception:  # noqa: BLE001 - plug-ins raise anything, and its text may hold the URL: none of it is kept
            known, taken = True, False
        if not known:
            raise DrorchError(
                f"secret {self.url.secret} holds no URL that Apprise understands",
                hint="compare it with Apprise's list of services",
            )
        if not taken:
            raise DrorchError(
                f"the message was not taken by every service of secret {self.url.secret}",
                hint="check the URL, the network and the service's own status",
                retryable=True,
            )


def _library() -> "ModuleType":
    """Apprise, imported late because it is heavy, and made silent because its log lines hold URLs."""
    import apprise  # noqa: PLC0415 - half a second that only a message that is sent should cost

    logging.getLogger("apprise").disabled = True
    for name in ("urllib3", "requests"):  # at debug level they log paths, and a path is the token of many services
        logging.getLogger(name).setLevel(logging.INFO)
    return apprise
