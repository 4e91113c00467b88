"""Programs that go on running on a host after the step that started them: found again, ended exactly.

Each has a folder of its own within the run's: ``pid`` (the leader's pid and its start time in clock ticks since boot,
which together name one process for ever), ``log`` (its output, bounded), ``out`` (the pipe between). It leads a session
of its own and carries `MARK` in its environment, and so does all that it starts. In a drill the programs that are
waited for carry it too, without a folder.

The scripts are constants; everything that varies is a positional parameter, so no value is ever read as shell text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from drorch.core.evidence import Failure
from drorch.core.host import Command, Completed, Host
from drorch.core.secret import Secret

MARK = "DRORCH_PROCESS"
"""The variable by which all its processes are known; its value is the program's folder, which no other has."""
LOG_LIMIT = 4 << 20
"""Bytes of output that are kept; the rest is read and thrown away, so the program is never held up."""
GRACE = 10
"""Seconds between asking a program to end and ending it."""

_STAT = """
stat_of() { line=$(cat "/proc/$1/stat" 2>/dev/null) && [ -n "$line" ]; }
ours() {
    stat_of "$1" || return 1
    want=$2
    set -- ${line##*) }
    [ "$1" != Z ] && [ "${20}" = "$want" ]
}
"""
"""``ours PID START``: whether that very process lives. After the name, which may hold anything, come the state and, as
the 20th word, the start time."""

_LEAD = """
state=$1 limit=$2
shift 2
line=$(cat "/proc/$$/stat")
start=$(set -- ${line##*) }; echo "${20}")
set -C
echo "$$ $start" > "$state/pid" || exit 1
set +C
( trap '' TERM HUP INT; head -c "$limit" > "$state/log"; exec cat > /dev/null ) < "$state/out" &
exec "$@" > "$state/out" 2>&1
"""
"""Becomes the program. Its pid is written before, so no program runs without a record; a second writer loses."""

_START = (
    _STAT
    + """
state=$1 limit=$2 lead=$3
shift 3
exec 9> "$state/lock"
flock 9
if [ -s "$state/pid" ] && read -r pid start < "$state/pid" && ours "$pid" "$start"; then
    echo "$pid $start"
    exit 0
fi
rm -f -- "$state/pid" "$state/out"
mkfifo -m 600 -- "$state/out" || exit 97
setsid sh -c "$lead" drorch "$state" "$limit" "$@" < /dev/null > /dev/null 2>&1 9>&- &
tries=0
until [ -s "$state/pid" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 200 ] || exit 98
    sleep 0.05
done
cat "$state/pid"
"""
)

_LOOK = (
    _STAT
    + """
[ -s "$1/pid" ] && read -r pid start < "$1/pid" && ours "$pid" "$start" && echo alive || echo dead
[ ! -f "$1/log" ] || tail -c 2000 "$1/log"
"""
)

_STOP = (
    _STAT
    + """
state=$1 mark=$2 grace=$3 matching=$4
pid=0 start=0
[ ! -s "$state/pid" ] || read -r pid start < "$state/pid"
members() {
    for path in $(grep "$matching" -e "$mark" /proc/[0-9]*/environ 2>/dev/null); do
        path=${path#/proc/}
        echo "${path%/environ}"
    done
    ours "$pid" "$start" || return 0
    for path in /proc/[0-9]*; do
        stat_of "${path#/proc/}" || continue
        set -- ${line##*) }
        [ "$1" = Z ] || [ "$4" != "$pid" ] || echo "${path#/proc/}"
    done
}
send() {
    ! ours "$pid" "$start" || kill -s "$1" -- "-$pid" 2>/dev/null
    for one in $(members); do kill -s "$1" -- "$one" 2>/dev/null; done
}
gone() {
    tries=$(($1 * 10))
    while [ -n "$(members)" ]; do
        tries=$((tries - 1))
        [ "$tries" -ge 0 ] || return 1
        sleep 0.1
    done
}
[ -n "$(members)" ] || exit 0
send TERM
gone "$grace" && exit 0
send KILL
gone 5 && exit 0
members
exit 96
"""
)
"""Ends the session's processes and, by their mark, those that left it; waits until none is left."""


@dataclass(frozen=True, slots=True)
class Started:
    """A running program."""

    pid: int
    started_ticks: int


def home(folder: str, step: str) -> str:
    """The folder of a step's program within the run's folder."""
    return f"{folder}/processes/{step}"


def start(
    host: Host, state: str, argv: tuple[str, ...], *, env: Mapping[str, str | Secret], cwd: str | None
) -> Started | Failure:
    """Start a program, or find the one that a former attempt started."""
    done = host.run(
        Command(("sh", "-c", _START, "drorch", state, str(LOG_LIMIT), _LEAD, *argv), env={**env, MARK: state}, cwd=cwd)
    )
    words = done.text.split()
    if not done.ok or len(words) != 2 or not all(word.isdigit() for word in words):  # noqa: PLR2004 - pid and start
        return done.failure(
            f"starting {argv[0]} on {host.name}", hint="it needs sh, setsid and flock (util-linux) there"
        )
    return Started(int(words[0]), int(words[1]))


def look(host: Host, state: str) -> tuple[bool, str] | Failure:
    """Whether it lives, and the end of its log."""
    done = host.run(Command(("sh", "-c", _LOOK, "drorch", state)))
    alive, _, log = done.text.partition("\n")
    if not done.ok or alive not in {"alive", "dead"}:
        return done.failure(f"looking after the program in {state} on {host.name}")
    return alive == "alive", log


def stop(host: Host, state: str) -> Failure | None:
    """End it and all that it started; nothing there is success."""
    return _stop(host, state, _WHOLE)


def stop_all(host: Host, folder: str) -> Failure | None:
    """End everything that carries the mark of a program of this run's folder; nothing there is success."""
    return _stop(host, home(folder, ""), _BEGINNING)


_WHOLE, _BEGINNING = "-lszxF", "-lszF"
"""How grep looks for the mark. Nothing else holds the beginning: a run's folder is named after it."""


def _stop(host: Host, state: str, matching: str) -> Failure | None:
    argv = ("sh", "-c", _STOP, "drorch", state, f"{MARK}={state}", str(GRACE), matching)
    done: Completed = host.run(Command(argv, timeout=GRACE + 30.0))
    if done.ok:
        return None
    left = ", ".join(done.text.split())
    return done.failure(
        f"ending the program in {state} on {host.name}" + (f" (processes {left})" if left else ""),
        hint="end these processes by hand, then retry",
    )
