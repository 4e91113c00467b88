"""Hosts: the three connectors behind `drorch.core.host.Host`."""

from drorch.core.clock import Halt
from drorch.core.host import FakeHostSpec, Host, HostSpec, LocalHostSpec
from drorch.core.secret import Secrets
from drorch.hosts.words import shown

__all__ = ["open_host", "shown"]


def open_host(name: str, spec: HostSpec, *, secrets: Secrets, halt: Halt, former: Host | None = None) -> Host:
    """The host of an inventory's entry. Nothing connects before the first command.

    ``former``: an object for the same entry that is not used any more; its connection is gone on with.
    """
    # Each connector is loaded when first used: a plan or a status needs none of them, and paramiko takes its time.
    if isinstance(spec, LocalHostSpec):
        from drorch.hosts.local import LocalHost  # noqa: PLC0415

        return LocalHost(name, spec, halt=halt)
    if isinstance(spec, FakeHostSpec):
        from drorch.hosts.fake import FakeHost  # noqa: PLC0415

        return FakeHost(name, spec, halt=halt)
    from drorch.hosts.ssh import SshHost  # noqa: PLC0415

    heritage = former.leave() if isinstance(former, SshHost) else None
    return SshHost(name, spec, secrets=secrets, halt=halt, heritage=heritage)
