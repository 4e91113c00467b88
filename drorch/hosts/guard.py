"""Shells that end what drorch started when drorch is gone, however drorch went: a helper, or running commands."""

_GUARD = """
trap : TERM INT HUP
exec 3<&0 </dev/null
"$@" 3<&- &
drorch_helper=$!
(
    trap '' TERM INT HUP
    read -r drorch_word <&3
    kill -TERM -$$
    drorch_left=50
    while kill -0 "$drorch_helper" && [ "$drorch_left" -gt 0 ]; do
        drorch_left=$((drorch_left - 1))
        sleep 0.1
    done
    kill -KILL -$$
) >/dev/null 2>&1 &
drorch_watch=$!
exec 3<&-
while :; do
    wait "$drorch_helper"
    drorch_code=$?
    kill -0 "$drorch_helper" 2>/dev/null || break
done
kill -KILL "$drorch_watch"
exit "$drorch_code"
"""


def guarded(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Words that execute ``argv`` with an empty input, and end it when their own standard input ends.

    They must lead a process group of their own, and only drorch may hold the other end of their standard input: the
    kernel closes it whatever drorch dies of. The exit code is the program's own.
    """
    return ("/bin/sh", "-c", _GUARD, "drorch-guard", *argv)


_WATCH = """
trap '' TERM INT HUP
groups=' '
while read -r sign group; do
    case $sign in
    +) groups="$groups$group " ;;
    -) groups="${groups%% "$group" *} ${groups#* "$group" }" ;;
    esac
done
exec 2>/dev/null
for group in $groups; do kill -s TERM -- "-$group"; done
left=$1
while [ "$left" -gt 0 ]; do
    alive=
    for group in $groups; do ! kill -s 0 -- "-$group" || alive=1; done
    [ -n "$alive" ] || exit 0
    left=$((left - 1))
    sleep 0.1
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""


def watching(grace: float) -> tuple[str, ...]:
    """Words that execute a watch over process groups.

    Lines of standard input say which: ``+ GROUP`` from now on, ``- GROUP`` no more. When the input ends, the groups
    that are left are asked to end, and ended after ``grace`` seconds. The watch must not be in any of them.
    """
    return ("/bin/sh", "-c", _WATCH, "drorch-watch", str(int(grace * 10)))
