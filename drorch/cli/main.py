"""The command line: global options, verbs found by name, errors and exit codes in one place.

Rules of the interface: results on stdout, everything else on stderr; ``--json`` gives one JSON document on stdout; an
error says what is wrong and what to do; no verb asks anything when stdin is no terminal.
"""

import gc
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from drorch import __version__
from drorch.core.errors import ConfigError, DrorchError, Interrupted
from drorch.core.exits import Exit, of_error

if TYPE_CHECKING:
    from drorch.app import App

_GARBAGE: Final = (200_000, 10, 10)
"""Objects more than before at which garbage is looked for. All modules together are about so many: at Python's own 700
a seventh of the time until a failover begins goes into looking through them in vain."""

VERBS: Final[Mapping[str, str]] = {
    "init": "Write a commented, valid starting point.",
    "check": "Check inventory and runbooks; report every mistake with its line.",
    "plan": "Print every step and command that a runbook would run, without connecting.",
    "run": "Run a runbook now.",
    "backup": "Back up a service.",
    "drill": "Restore a service on a standby, verify it, measure, clean up.",
    "failover": "Lead a service to its standby.",
    "failback": "Lead a service home again.",
    "home": "Say, or set, on which host a service lives.",
    "restore": "Restore a service, or some of its sources, beside the live ones.",
    "status": "Say on one screen what would be lost if the primary died now.",
    "posture": "Count copies, media, off-site and immutable ones; name single points of failure.",
    "runs": "List runs.",
    "show": "Show a run with its evidence.",
    "timeline": "Write what happened, when, and by whose word, for the review afterwards.",
    "resume": "Go on with a run that was stopped or killed.",
    "retry": "Answer a paused run: try the failed step again.",
    "skip": "Answer a paused run: leave the step out and go on.",
    "abort": "End a run; its clean-up still happens.",
    "confirm": "Answer a waiting run: yes, it is done.",
    "approve": "Agree to what another person asked, signed with an SSH key.",
    "refuse": "Answer a waiting run: no.",
    "attest": "Answer a paused run: by my name, that host is fenced.",
    "unplanned": "Answer a paused planned run: go on without the old primary's help.",
    "pause": "Stop a run where it is, to go on later.",
    "daemon": "Run what is due, on and on.",
    "schema": "Print the JSON Schema of inventory or runbook, for editors.",
    "host": "List hosts, test them, trust their keys.",
    "mirror": "Bring an off-site copy up to date.",
    "audit": "Look whether an off-site copy is whole, unaltered and locked.",
    "recover": "Rebuild a repository from its off-site copy, whatever was done to that.",
    "reclaim": "Remove from an off-site copy what its repository no longer has, asked for twice.",
    "repository": "Create, list and unlock repositories.",
    "store": "Make, probe and list stores of off-site copies.",
    "kit": "Seal all that a recovery needs into one file; open it anywhere.",
    "completion": "Print the shell's completion script.",
}


class Verbs(click.Group):
    """The verbs, each imported when used only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's own file."""
        if cmd_name not in VERBS:
            return None
        command = import_module(f"drorch.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - a verb's file without a command is a defect
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb, or an error with the nearest one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - for typos only

            near = get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"no verb {args[0]!r}" + (f"; did you mean {near[0]}?" if near else "; drorch --help lists them"))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, from the table, so that help imports none of them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 documents wrong, 4 done with exceptions, 5 waits for a person,"
    " 6 refused, 7 busy, 8 unknown name, 9 at risk (status --check, posture --check), 130 stopped.",
)
@click.version_option(__version__, prog_name="drorch")
@click.option("--config", type=click.Path(path_type=Path), help="Folder of drorch.yaml.  [env: DRORCH_CONFIG]")
@click.option("--runbooks", type=click.Path(path_type=Path), help="Folder of the runbooks.  [env: DRORCH_RUNBOOKS]")
@click.option("--state", type=click.Path(path_type=Path), help="State folder.  [env: DRORCH_STATE]")
@click.option("--log-level", help="debug, info, warning or error.  [env: DRORCH_LOG_LEVEL]")
@click.pass_context
def drorch(
    ctx: click.Context, config: Path | None, runbooks: Path | None, state: Path | None, log_level: str | None
) -> None:
    """Backups that are believed because a drill restored them."""
    ctx.obj = {"config": config, "runbooks": runbooks, "state": state, "log_level": log_level}


def app() -> "App":
    """The application that the command line asks for.

    Raises:
        SettingsError: a setting is unusable.
    """
    from drorch.app import App  # noqa: PLC0415 - help and completion need none of it
    from drorch.config.settings import read_settings  # noqa: PLC0415 - the same

    context = click.get_current_context()
    given = {key: value for key, value in context.find_root().obj.items() if value is not None}
    settings = read_settings(**given)
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("paramiko", "dbos", "urllib3", "botocore"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    return App(settings)


def say_json(document: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def complain(error: DrorchError, *, as_json: bool) -> Exit:
    """Print an error and give its exit code."""
    code = of_error(error)
    if as_json:
        problems = error.problems if isinstance(error, ConfigError) else ()
        say_json(
            {
                "error": error.message,
                "hint": error.hint,
                "exit_code": int(code),
                "problems": [
                    {"file": p.file, "line": p.line, "key": p.key, "message": p.message, "hint": p.hint}
                    for p in problems
                ],
            }
        )
        return code
    if isinstance(error, ConfigError):
        for problem in error.problems:
            click.echo(str(problem), err=True)
        count = len(error.problems)
        click.secho(f"{count} mistake{'s' if count != 1 else ''}; nothing was done", fg="red", err=True)
        return code
    click.secho(f"drorch: {error.message}", fg="red", err=True)
    if error.hint:
        click.echo(f"  what to do: {error.hint}", err=True)
    return code


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    gc.set_threshold(*_GARBAGE)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = drorch.main(args=arguments, prog_name="drorch", standalone_mode=False)
        _leave(int(code) if isinstance(code, int) else Exit.OK)
    except click.exceptions.Exit as leaving:
        _leave(leaving.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        _leave(Exit.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        _leave(Exit.USAGE)
    except DrorchError as error:
        _leave(complain(error, as_json="--json" in arguments))
    except (KeyboardInterrupt, Interrupted):
        click.echo("stopped", err=True)
        _leave(Exit.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(Exit.OK)
    except Exception:
        logging.getLogger("drorch").exception("a defect of drorch; please report it")
        _leave(Exit.FAILED)


def _leave(code: int) -> None:
    """End the process at once: the engine's idle threads are not waited for, everything is on disk already."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
