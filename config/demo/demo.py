"""`make demo`: a shop is backed up, does business, is backed up again, and is restored and tried on a standby.

Everything happens below one folder, ``demo/`` unless said, which is made anew each time; no root, no servers, no
network. A folder that an earlier demo did not make is never touched. Each command is shown as one would type it.
"""

# ruff: noqa: INP001 - a program of its own, no part of a package

import argparse
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
MARK = ".drorch-demo"
"""A file that says that the folder may be removed by the next demo."""

PORT = "18080"
"""Where the runbook lets the restored shop answer; another free one takes its place when it is in use."""

DRORCH = Path(sys.executable).parent / "drorch"


@dataclass(frozen=True, slots=True)
class Demo:
    """One demo, in its folder."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """Leads drorch to the demo's own documents and state, and nowhere else."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DRORCH_")}
        return inherited | self.settings

    @property
    def settings(self) -> dict[str, str]:
        """What a user sets to look around."""
        return {f"DRORCH_{name.upper()}": str(self.folder / name) for name in ("config", "runbooks", "state")}

    def lay_out(self) -> None:
        """Copies of the documents, a password, two machines that are folders, and a shop on the first."""
        for name in ("config", "runbooks", "primary", "standby", "offsite"):
            (self.folder / name).mkdir()
        shutil.copy(REPOSITORY / "config" / "drorch.yaml", self.folder / "config")
        port = _free_port()
        for runbook in sorted((REPOSITORY / "runbooks").glob("shop-*.yaml")):
            (self.folder / "runbooks" / runbook.name).write_text(runbook.read_text().replace(PORT, port))
        password = self.folder / "config" / "secrets" / "vault"
        password.parent.mkdir(mode=0o700)
        password.touch(mode=0o600)
        password.write_text(f"{secrets.token_urlsafe(24)}\n")
        for machine in ("primary", "standby"):
            shutil.copy(HERE / "shop.py", self.folder / machine)
        if port != PORT:
            say(f"(port {PORT} is in use here: the demo's runbook takes {port})")

    def shop(self, verb: str) -> None:
        """Let the shop on the primary be made or do business."""
        self._run(
            [sys.executable, "shop.py", verb, "."], shown=f"python3 shop.py {verb} .", cwd=self.folder / "primary"
        )

    def drorch(self, *words: str) -> None:
        """Type a command."""
        self._run([str(DRORCH), *words], shown=shlex.join(["drorch", *words]), cwd=self.folder)

    def left_on_standby(self) -> list[str]:
        """What lies there beyond the application and the cache that restic keeps on each host."""
        standby = self.folder / "standby"
        kept = (standby / "shop.py", standby / ".drorch" / "cache")
        return sorted(
            str(path.relative_to(standby))
            for path in standby.rglob("*")
            if not path.is_dir() and not any(path.is_relative_to(place) for place in kept)
        )

    def _run(self, argv: list[str], *, shown: str, cwd: Path) -> None:
        say(_dim(f"$ {shown}"))
        with subprocess.Popen(argv, cwd=cwd, env=self.env, stdin=subprocess.DEVNULL) as process:  # noqa: S603 - its own commands
            try:
                code = process.wait()
            except KeyboardInterrupt:
                process.wait()  # it was interrupted too, and stops in order
                raise SystemExit(130) from None
        if code != 0:
            say(f"\nThat ended with exit code {code}, so the demo stops here. What it made: {self.folder}")
            raise SystemExit(1)


def play(demo: Demo) -> None:
    """The whole story."""
    began = time.monotonic()
    title("A shop on its primary, and a standby with nothing but the shop's program")
    demo.lay_out()
    demo.shop("make")

    title("Are the documents right? Then make the repository and its off-site store: only these commands ever do")
    demo.drorch("check")
    demo.drorch("repository", "create", "vault")
    demo.drorch("store", "create", "offsite", "--yes=offsite")

    title("Tonight's backup, now; it ends with the copy off-site")
    demo.drorch("backup", "shop")

    title("The shop does business, and is backed up again: only what changed is stored")
    demo.shop("change")
    demo.drorch("backup", "shop")

    title("Until now the backup is a hope. The drill restores it on the standby and lets the shop answer there")
    demo.drorch("drill", "shop")
    left = demo.left_on_standby()
    say(f"left on the standby, restic's cache aside: {', '.join(left) or 'nothing'}")

    title("And if the repository is gone as well? The same drill, from the off-site copy alone")
    demo.drorch("drill", "shop", "--store", "offsite")

    title("If the primary died now")
    demo.drorch("status")

    title(f"That took {time.monotonic() - began:.0f} s. Look around")
    shown = _from_here(demo.folder)
    say(f"""\
  {shown}/config/drorch.yaml    what there is and where
  {shown}/runbooks/             what is done when: backup, drill, check
  {shown}/primary, standby      the two machines
  {shown}/vault                 the encrypted repository
  {shown}/offsite               its copy, file by file

  export {" ".join(f"{name}={value}" for name, value in demo.settings.items())}
  export PATH={DRORCH.parent}:{REPOSITORY / ".tools" / "bin"}:$PATH
  drorch runs                 every run so far
  drorch plan shop-drill      each step and command of the drill, without doing any
  drorch show RUN             a run's evidence, with an id that `drorch runs` gives""")


def prepare(folder: Path) -> Demo:
    """The folder, empty and marked.

    Raises:
        SystemExit: it holds something that no demo made.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise SystemExit(f"{folder} is no folder, and the demo replaces nothing that it did not make")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise SystemExit(f"{folder} holds something that no demo made: move it away, or name another folder")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return Demo(folder.resolve())


def title(text: str) -> None:
    """Begin a scene."""
    say(f"\n{_bold(f'── {text}')}")


def say(text: str) -> None:
    """Speak at once, in order with what the commands print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text


def _dim(text: str) -> str:
    return f"\x1b[36m{text}\x1b[0m" if sys.stdout.isatty() else text


def _from_here(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _free_port() -> str:
    for wanted in (int(PORT), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return str(probe.getsockname()[1])
    raise SystemExit("no loopback port is free on this machine")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Back up a small shop and drill its restore.")
    parser.add_argument("--into", type=Path, default=REPOSITORY / "demo", help="folder to work in; made anew")
    play(prepare(parser.parse_args().into))


if __name__ == "__main__":
    main()
