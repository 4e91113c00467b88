"""Where services live by now: a failover moves one, and the inventory's file is not rewritten for that. Pure."""

from collections.abc import Mapping

from drorch.config.inventory import Inventory, Service


def settled(inventory: Inventory, homes: Mapping[str, str]) -> Inventory:
    """The inventory with each service's primary where it lives now; the former primary becomes a standby.

    ``homes``: host by service. What the inventory does not know is left out.
    """
    services = {
        name: _moved(service, homes[name]) if homes.get(name) in inventory.hosts else service
        for name, service in inventory.services.items()
    }
    return inventory.model_copy(update={"services": services})


def _moved(service: Service, home: str) -> Service:
    if home == service.primary:
        return service
    others = [host for host in (*service.standbys, service.primary) if host != home]
    return service.model_copy(update={"primary": home, "standbys": tuple(dict.fromkeys(others))})
