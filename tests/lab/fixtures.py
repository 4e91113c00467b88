"""Fixtures: one lab per test process, as at first for each test that asks for `lab`."""

from collections.abc import Iterator

import pytest

from lab.lab import Lab, missing


@pytest.fixture(scope="session")
def standing_lab() -> Iterator[Lab]:
    """The lab of this test process, as the test before left it; most tests want `lab`."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with Lab.start() as lab:
        lab.fresh = True
        yield lab


@pytest.fixture
def lab(standing_lab: Lab) -> Lab:
    """A lab as at first: all up, orders taken at web1, the standby in step."""
    if not standing_lab.fresh:
        standing_lab.reset()
    standing_lab.fresh = False
    return standing_lab
