"""Fixtures: a lab per test process, new for each test that asks for `lab`; two of them have hosts at a time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.claim import AT_ONCE, turn
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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in a lab may take longer than others: three hosts boot, and other tests run beside it."""
    for item in items:
        if _in_lab(item) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(400))
    items[:] = _spread(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def _in_lab(item: pytest.Item) -> bool:
    return bool({"lab", "shared_lab"} & set(getattr(item, "fixturenames", ())))


def _spread(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Let two processes begin with the tests in labs, file by file, and the others with all else: each process gets an
    equal share of the list, and with more labs than turns to have hosts they would wait for each other.
    """
    files: dict[Path, list[pytest.Item]] = {}
    others = []
    for item in items:
        if _in_lab(item):
            files.setdefault(item.path, []).append(item)
        else:
            others.append(item)
    first: list[pytest.Item] = []
    second: list[pytest.Item] = []
    for file in sorted(files.values(), key=len, reverse=True):
        min(first, second, key=len).extend(file)
    room = len(items) // workers - len(first)
    if workers <= AT_ONCE or room < 0:
        return items
    return [*first, *others[:room], *second, *others[room:]]
