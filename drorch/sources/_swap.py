"""Put a restored file or folder in the live one's place, by renames that can be taken up after any cut.

Two phases, parted by a marker file in the run's own folder:

1. *beside*: the restored thing becomes ``LIVE.drorch-new-S`` on the live one's file system (renamed when it is already
   there, else copied). Then the marker is written; it says whether there was a live one.
2. *rename*: live → ``LIVE.drorch-before-S``, new → live.

With the marker and without a new one, the swap is done. Nothing is ever overwritten or removed but the copy's source.
"""

from dataclasses import dataclass

from drorch.core.evidence import Failure
from drorch.core.host import Command, Host
from drorch.core.model import Json

_BESIDE = 73
_STRANGER = 74
_MISSING = 66

_SCRIPT = r"""
set -eu
live=$1 restored=$2 kept=$3 new=$4 marker=$5
shift 5
exists() { [ -e "$1" ] || [ -L "$1" ]; }
stop() { printf '%s\n' "$2" >&2; exit "$1"; }
above=$(dirname -- "$live")
if ! exists "$marker"; then
  if ! exists "$new"; then
    exists "$restored" || stop 66 "nothing restored at $restored"
    ! exists "$kept" || stop 74 "$kept is there already"
    for side in "$@"; do
      [ ! -s "$restored$side" ] || [ "$side" = -shm ] || stop 73 "$restored$side is not empty: still in use"
    done
    mkdir -p -- "$above"
    if [ "$(stat -c %d -- "$restored")" = "$(stat -c %d -- "$above")" ]; then
      mv -T -- "$restored" "$new"
    else
      rm -rf -- "$new.part"
      cp -a -T -- "$restored" "$new.part"
      sync
      mv -T -- "$new.part" "$new"
    fi
  fi
  if exists "$live"; then state=kept; else state=fresh; fi
  printf '%s\n' "$state" > "$marker.part"
  mv -T -- "$marker.part" "$marker"
fi
state=$(cat -- "$marker")
if exists "$new"; then
  if [ "$state" = kept ] && ! exists "$kept"; then
    mv -T -- "$live" "$kept"
  fi
  for side in "$@"; do
    if [ "$state" = kept ] && exists "$live$side"; then
      ! exists "$kept$side" || stop 74 "$kept$side is there already"
      mv -T -- "$live$side" "$kept$side"
    fi
  done
  ! exists "$live" || stop 74 "$live came into being meanwhile"
  mv -T -- "$new" "$live"
fi
exists "$live" || stop 66 "nothing at $live after the swap"
printf '%s\n' "$state"
"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One rename to bring about."""

    live: str
    """Absolute."""
    restored: str
    marker: str
    """A file of the run's own, beside the restored thing."""
    suffix: str
    sides: tuple[str, ...] = ()
    """Endings of files that belong to the live one and go with it."""

    @property
    def kept(self) -> str:
        """Where the live one goes."""
        return f"{self.live}.drorch-before-{self.suffix}"

    def command(self) -> Command:
        """All of it, safe to repeat."""
        new = f"{self.live}.drorch-new-{self.suffix}"
        return Command(
            ("sh", "-c", _SCRIPT, "sh", self.live, self.restored, self.kept, new, self.marker, *self.sides),
            env={"LC_ALL": "C"},
        )


def exchange(host: Host, wanted: Exchange) -> dict[str, Json] | Failure:
    """Do it; gives where the live one is now and where the old one is kept."""
    done = host.run(wanted.command())
    if not done.ok:
        hint = {
            _MISSING: "restore again: the snapshot holds no such thing, or the clean-up has removed it",
            _STRANGER: f"look at {wanted.live} and {wanted.kept} on {host.name}: nothing there was overwritten",
            _BESIDE: "stop what uses the restored file, then do this again",
        }.get(done.exit_code or 0, f"the same step again takes it up where it stopped; {wanted.live} must be no mount")
        return done.failure(f"putting the restored {wanted.live} in place", hint=hint)
    kept = done.text.strip() == "kept"
    return {"live": wanted.live, "kept": wanted.kept if kept else None}
