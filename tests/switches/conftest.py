"""Every way, each with the real thing behind it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.haproxy import Edge
from support.turns import Rig, failover

MAKERS: dict[str, Callable[[pytest.FixtureRequest, Path], Rig]] = {}
"""By the way's word."""


def _haproxy(request: pytest.FixtureRequest, root: Path) -> Rig:
    edge: Edge = request.getfixturevalue("edge")
    said = {"host": "edge", "socket": edge.socket, "backend": "shop", "frontend": "www"}

    def astray() -> None:
        edge.say("set server shop/primary state maint; set server shop/third state ready")

    return Rig(failover(root), {"haproxy": said}, edge.customer, astray)


MAKERS["haproxy"] = _haproxy


@pytest.fixture(params=list(MAKERS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Each way in turn; it leads to the primary."""
    return MAKERS[request.param](request, tmp_path)
