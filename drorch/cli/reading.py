"""What the verbs that only read share: in which zone people read, and which run they mean."""

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from drorch.core.errors import DrorchError, NoSuchRun

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.engine.journal import Run


def zone_of(app: "App") -> ZoneInfo:
    """The inventory's time zone; UTC while the documents are wrong, since history must be readable then too."""
    try:
        return ZoneInfo(app.documents.inventory.timezone)
    except DrorchError:
        return ZoneInfo("UTC")


def find_run(app: "App", wanted: str) -> "Run":
    """The run of that id, of that unique beginning, or the newest for ``last``.

    Raises:
        NoSuchRun: none, or several.
    """
    if wanted != "last":
        return app.journal.run(wanted)
    newest = app.journal.runs(limit=1)
    if not newest:
        raise NoSuchRun("nothing has run yet", hint="drorch run RUNBOOK")
    return newest[0]
