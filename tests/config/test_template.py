"""The starting point that drorch init writes."""

from pathlib import Path

import pytest

from drorch.config.load import check
from drorch.config.template import init
from drorch.core.errors import DrorchError, Refused


def test_it_passes_its_own_check(tmp_path: Path) -> None:
    """A fresh starting point has no mistakes; it only warns of keys that nobody has pinned yet."""
    written = init(tmp_path / "new" / "config")
    checked = check(tmp_path / "new" / "config")
    assert checked.problems == ()
    assert set(checked.files) <= set(written)
    assert [warning for warning in checked.warnings if "no key is pinned" not in warning.message] == []
    assert checked.documents is not None
    assert list(checked.documents.runbooks) == ["shop-drill", "shop-failover", "shop-nightly"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """When one of its files is there, none is written and none is changed."""
    (tmp_path / "runbooks").mkdir()
    mine = tmp_path / "runbooks" / "shop-drill.yaml"
    mine.write_text("mine")
    with pytest.raises(Refused):
        init(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where nothing can be written, the error says so."""
    (tmp_path / "file").touch()
    with pytest.raises(DrorchError, match="file"):
        init(tmp_path / "file" / "config")
