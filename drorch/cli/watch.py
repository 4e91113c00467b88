"""What a person sees while a run runs: bars at a terminal, lines elsewhere, nothing with ``--json``.

Rules: everything goes to stderr; a line is printed once per event, never rewritten when piped; progress lines at most
every 10 s; what comes from hosts is made printable first.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import click

from drorch.core.evidence import Evidence, Failure, Progress
from drorch.core.host import printable
from drorch.core.step import StepState
from drorch.engine.interpret import Attempt
from drorch.engine.perform import Watcher
from drorch.engine.plan import Plan, PlannedStep

if TYPE_CHECKING:
    from rich.progress import TaskID

_EVERY_SECONDS = 10.0
_MARKS = {
    StepState.SUCCEEDED: ("✓", "green"),
    StepState.FAILED: ("✗", "red"),
    StepState.TIMED_OUT: ("⏱", "red"),
    StepState.SKIPPED: ("-", "yellow"),
}


class Screen(Watcher, Protocol):
    """A watcher that holds the terminal until it is closed."""

    def close(self) -> None:
        """Give the terminal back."""
        ...


def watcher(plan: Plan, *, quiet: bool) -> Screen:
    """The watcher that fits where stderr goes."""
    if quiet:
        return Silent()
    if sys.stderr.isatty():
        return Bars(plan)
    return Lines(plan)


class Silent:
    """Shows nothing."""

    def step_started(self, planned: PlannedStep, number: int, *, undo: bool) -> None:
        """Nothing."""

    def progressed(self, progress: Progress) -> None:
        """Nothing."""

    def step_ended(self, planned: PlannedStep, attempt: Attempt) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines:
    """Plain lines, for logs and pipes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shown: dict[str, float] = {}
        self._lock = threading.Lock()

    def step_started(self, planned: PlannedStep, number: int, *, undo: bool) -> None:
        """One line."""
        again = f" (attempt {number})" if number > 1 and not undo else ""
        words = planned.step.describe(self._plan.scene).replace("\n", " ")
        self._say(f"… {planned.id}{again}: {'take back: ' if undo else ''}{words}")

    def progressed(self, progress: Progress) -> None:
        """A line now and then."""
        now = time.monotonic()
        if now - self._shown.setdefault(progress.step, now) < _EVERY_SECONDS:
            return
        self._shown[progress.step] = now
        parts = [amount(progress)]
        if progress.seconds_left is not None:
            parts.append(f"{seconds(progress.seconds_left)} left")
        self._say(f"  {progress.step}: {', '.join(part for part in parts if part)} {printable(progress.text)}".rstrip())

    def step_ended(self, planned: PlannedStep, attempt: Attempt) -> None:
        """One line, and what to do after a failure."""
        for line in ended(planned, attempt):
            self._say(line)

    def close(self) -> None:
        """Nothing is open."""

    def _say(self, line: str) -> None:
        with self._lock:
            click.echo(printable(line), err=True)


class Bars:
    """Progress bars at a terminal: one for each step in progress, a line for each that is over."""

    def __init__(self, plan: Plan) -> None:
        from rich.console import Console  # noqa: PLC0415 - terminals only
        from rich.progress import BarColumn, SpinnerColumn, TextColumn  # noqa: PLC0415 - terminals only
        from rich.progress import Progress as RichProgress  # noqa: PLC0415 - terminals only

        self._plan = plan
        self._console = Console(stderr=True, highlight=False)
        self._bars = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._bars.start()

    def step_started(self, planned: PlannedStep, number: int, *, undo: bool) -> None:
        """A bar that only moves until progress is known."""
        with self._lock:
            words = f"{planned.id}: take back" if undo else planned.id
            self._tasks[planned.id] = self._bars.add_task(words, total=None, amount="")

    def progressed(self, progress: Progress) -> None:
        """Move the bar."""
        with self._lock:
            task = self._tasks.get(progress.step)
        if task is None:
            return
        left = f"  {seconds(progress.seconds_left)} left" if progress.seconds_left is not None else ""
        done, total = progress.done_bytes, progress.total_bytes
        if not total:
            done, total = progress.done_files, progress.total_files
        self._bars.update(task, completed=done, total=total or None, amount=amount(progress) + left)

    def step_ended(self, planned: PlannedStep, attempt: Attempt) -> None:
        """The bar becomes a line."""
        with self._lock:
            task = self._tasks.pop(planned.id, None)
        if task is not None:
            self._bars.remove_task(task)
        from rich.text import Text  # noqa: PLC0415 - terminals only

        mark, colour = _MARKS[attempt.state]
        first, *rest = ended(planned, attempt)
        self._console.print(Text.assemble((mark, colour), first.removeprefix(mark), *(f"\n{line}" for line in rest)))

    def close(self) -> None:
        """Give the terminal back."""
        self._bars.stop()

    def reopen(self) -> None:
        """Take the terminal again."""
        self._bars.start()


def ended(planned: PlannedStep, attempt: Attempt) -> list[str]:
    """The lines for an attempt that is over."""
    mark, _ = _MARKS[attempt.state]
    if attempt.evidence is not None:
        words = _undone(attempt.evidence) if attempt.undo else brief(attempt.evidence)
        return [f"{mark} {planned.id}  {words}".rstrip()]
    failure = attempt.failure or Failure(why="not begun, the run was aborted")
    lines = [f"{mark} {planned.id}  {printable(failure.why)}"]
    if failure.hint:
        lines.append(f"    what to do: {printable(failure.hint)}")
    return lines


def _undone(evidence: Evidence) -> str:
    return "there was nothing to take back" if evidence.facts.get("left") is False else "taken back"


def amount(progress: Progress) -> str:
    """How far, in bytes and files."""
    parts = []
    if progress.total_bytes:
        parts.append(f"{size(progress.done_bytes)} of {size(progress.total_bytes)}")
    elif progress.done_bytes:
        parts.append(size(progress.done_bytes))
    if progress.total_files:
        parts.append(f"{progress.done_files} of {progress.total_files} files")
    elif progress.done_files:
        parts.append(f"{progress.done_files} files")
    return ", ".join(parts)


def size(count: float) -> str:
    """Bytes for people, powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - the step between units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def seconds(length: float) -> str:
    """A length of time for people."""
    minutes, rest = divmod(round(length), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


_SAID: tuple[tuple[str, type | tuple[type, ...], Callable[[Any], str]], ...] = (
    ("snapshot", str, lambda value: f"snapshot {value[:8]}"),
    ("bytes", int, size),
    ("files", int, lambda value: f"{value} files"),
    ("objects", int, lambda value: f"{value} files"),
    ("uploaded", int, lambda value: f"{value or 'none'} of them new"),
    ("looked_at", int, lambda value: f"{value} looked at" if value else ""),
    ("recorded", int, lambda value: f"{value} recorded checksums right" if value else ""),
    ("unrecorded", int, lambda value: f"{value} without a checksum to compare" if value else ""),
    ("hashed", int, lambda value: f"{value} read and hashed"),
    ("tables", dict, lambda value: f"{len(value)} tables"),
    ("kept_points", int, lambda value: f"{value} recovery points kept"),
    ("removed_snapshots", int, lambda value: f"{value} snapshots removed"),
    ("coverage_percent", (int, float), lambda value: f"{value:.0f} % of the bytes read so far"),
    ("status", int, lambda value: f"status {value}"),
    ("latency_ms", (int, float), lambda value: f"{value:.0f} ms"),
    ("pid", int, lambda value: f"process {value}"),
    ("exit_code", int, lambda value: f"exit code {value}"),
    ("left", int, lambda value: f"{value or 'nothing'} left"),
    ("confirmed_by", str, lambda value: f"confirmed by {printable(value)}"),
)
"""The facts that a person looks for first: name, type, words."""


def brief(evidence: Evidence) -> str:
    """The facts that a person looks for first."""
    said = [say(evidence.facts[name]) for name, kind, say in _SAID if isinstance(evidence.facts.get(name), kind)]
    words = [word for word in said if word]
    if evidence.levels:
        words.append(f"→ {min(evidence.levels.values(), key=lambda level: level.height)}")
    if evidence.level:
        words.append(f"→ {evidence.level}")
    if evidence.exceptions:
        count = len(evidence.exceptions)
        many = f"{count} exceptions, the first" if count > 1 else "an exception"
        words.append(f"{many}: {printable(evidence.exceptions[0])}")
    return ", ".join(words)
