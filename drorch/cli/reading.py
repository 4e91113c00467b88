"""What the verbs that only read share: in which zone people read, which run they mean, whether it can be believed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from drorch.core.errors import DrorchError, NoSuchRun

if TYPE_CHECKING:
    from drorch.app import App
    from drorch.engine.journal import Record, Run


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


def doubts_of(app: "App", runs: "Sequence[tuple[Run, Sequence[Record]]]") -> tuple[int | None, tuple[str, ...]]:
    """Why what the journal says of these runs cannot be believed, nothing when it can; and from which record on."""
    from drorch.reports.evidence import altered  # noqa: PLC0415 - only for this
    from drorch.vault.signing import KEY_FILE, Signer, verify  # noqa: PLC0415 - cryptography takes its time

    keys = app.settings.state / "keys"
    trusted = Signer.open(keys).public if (keys / KEY_FILE).exists() else None
    broken = app.journal.verify(verify, trusted=trusted)
    chain = f"the journal, from record {broken.seq} on: {broken.why}" if broken else ""
    own_key = "" if trusted else f"the key that signs is not in {keys}, so anybody could have signed"
    said = (chain, own_key, *(altered(run, records) for run, records in runs))
    return broken.seq if broken else None, tuple(doubt for doubt in said if doubt)
