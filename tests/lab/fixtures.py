"""Fixtures: a lab per test process, new for each test that asks for `lab`; two of them have hosts at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.claim import turn
from lab.lab import Lab
from lab.needs import missing


@pytest.fixture(scope="session")
def empty_lab() -> Iterator[Lab]:
    """The lab of this test process, without hosts; tests want `lab`."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with Lab.prepare() as lab:
        yield lab


@pytest.fixture(scope="session")
def lab_turns(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder that all processes of a test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base  # a worker of xdist has a folder within


@pytest.fixture
def lab(empty_lab: Lab, lab_turns: Path) -> Iterator[Lab]:
    """A lab as at first: all up, orders taken at web1, the standby in step."""
    with turn(lab_turns):
        empty_lab.reset()
        yield empty_lab
        empty_lab.clear()


@pytest.fixture(scope="module")
def shared_lab(empty_lab: Lab, lab_turns: Path) -> Iterator[Lab]:
    """The same for a whole file, whose tests leave it as they found it; none of them may ask for `lab`."""
    with turn(lab_turns):
        empty_lab.reset()
        yield empty_lab
        empty_lab.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure in the lab comes with what its hosts said."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # as pluggy's wrappers are
    found = getattr(item, "funcargs", {}).get("empty_lab")
    if report.failed and isinstance(found, Lab):
        report.sections.append(("the lab's journals", found.said()))
    return report  # type: ignore[return-value]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in a lab may take longer than others: three hosts boot, and other tests run beside it."""
    for item in items:
        if {"lab", "shared_lab"} & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(400))
