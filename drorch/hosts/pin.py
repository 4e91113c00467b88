"""Whether a machine is the one that the inventory means."""

from drorch.core.errors import WrongHost
from drorch.core.host import Identity, LocalHostSpec, SshHostSpec


def checked(name: str, spec: LocalHostSpec | SshHostSpec, identity: Identity) -> Identity:
    """The identity, if it is the pinned one or none is pinned.

    Raises:
        WrongHost: it is another machine.
    """
    if spec.machine_id is not None and spec.machine_id != identity.machine_id:
        raise WrongHost(
            f"{name}: this is machine {identity.machine_id or 'without an id'} ({identity.hostname}), "
            f"and the inventory means {spec.machine_id}",
            hint=f"nothing was done; if the machine was replaced on purpose: drorch host trust {name}",
        )
    return identity
