"""What is said to a remote shell. Pure; the one place where words become shell text.

A session executes one line that any login shell understands (`opening`): it empties the environment, starts ``/bin/sh``
and announces itself with a mark on both streams, so that whatever the shell's start-up files print is known from what
the command prints. Then one line of shell text (`order`) is sent over its standard input: it holds the words, the
folder and the environment, so no secret is ever in an argument list and no login shell's own rules of quoting matter.
What follows on standard input is the command's own.
"""

import math
from collections.abc import Mapping

from drorch.hosts.words import LANG, NOT_EXECUTABLE, encoded

REMOTE_MARGIN = 5.0
"""Seconds by which the remote deadline lies behind the controller's: it serves when the connection is gone."""

# `read` takes one byte at a time, as POSIX wants of a shell, so it leaves the command's input alone.
_READER = 'echo {mark}; echo {mark} $$ >&2; IFS= read -r drorch_order && eval "$drorch_order"'
# Stays between `timeout` and the command, so that a death by signal is told as 128 + n and not in SSH's own way.
_RUNNER = 'trap : TERM INT HUP; "$@"; exit $?'


def opening(mark: str) -> bytes:
    """The line to execute; ``mark`` is letters and digits, new for each command."""
    keep = " ".join(f'{name}="${name}"' for name in ("HOME", "PATH", "USER", "LOGNAME", "SHELL"))
    return f"exec env -i {keep} LC_ALL=C /bin/sh -c '{_READER.format(mark=mark)}'".encode()


def order(argv: tuple[str, ...], env: Mapping[str, str], *, cwd: str | None, timeout: float, grace: float) -> bytes:
    """The line to send once the mark was seen; holds secrets in clear.

    The command leads a process group whose id stood beside the mark, and is ended there after ``timeout`` seconds and
    the margin, wherever there is a ``timeout`` program.
    """
    words = b" ".join(_quoted(encoded(word)) for word in argv)
    exports = b"".join(b" " + encoded(name) + b"=" + _quoted(encoded(value)) for name, value in env.items())
    seconds = math.ceil(timeout + REMOTE_MARGIN)
    runner = b"/bin/sh -c " + _quoted(_RUNNER.encode()) + b' drorch "$@"'
    parts = [
        b"set -- " + words,
        b"drorch_timeout=$(command -v timeout)",
        b"cd -- " + (_folder(cwd) if cwd is not None else b'"$HOME"') + b" || exit %d" % NOT_EXECUTABLE,
        b"unset LC_ALL",
        b"export LANG=" + LANG.encode() + exports,
        b'[ -z "$drorch_timeout" ] || exec "$drorch_timeout" -k %d %d ' % (math.ceil(grace), seconds) + runner,
        b"exec " + runner,
    ]
    text = b"; ".join(parts)
    if b"\n" in text:
        # The order is one line, so a newline in it travels as a variable.
        text = b"drorch_n=$(printf '\\n.'); drorch_n=${drorch_n%.}; " + text.replace(b"\n", b"'\"$drorch_n\"'")
    return text + b"\n"


def ending(group: int, grace: float) -> bytes:
    """The line that ends a process group: asks, waits until it is gone, then insists. Exit code 0: it is gone."""
    # A server may start shells without a group of their own: then the shell itself is all that can be reached.
    # Dead processes that nobody has reaped yet are still found by kill; their state tells them.
    living = (
        f"living() {{ command -v awk >/dev/null || {{ kill -s 0 -- -{group}; return; }}; "
        'cat /proc/[0-9]*/stat | awk "{ pid = \\$1; sub(/^.*[)] /, \\"\\"); '
        f'if ((pid == {group} || \\$3 == {group}) && \\$1 ~ /[^ZX]/) found = 1 }} END {{ exit 1 - found }}"; }}'
    )
    script = (
        f"{living}; kill -s TERM -- -{group} || kill -s TERM {group}; i=0; "
        f"while living; do i=$((i+1)); [ $i -gt {math.ceil(grace * 10)} ] && break; sleep 0.1; done; "
        f"kill -s KILL -- -{group} || kill -s KILL {group}; i=0; "
        "while living; do i=$((i+1)); [ $i -gt 20 ] && exit 1; sleep 0.1; done; exit 0"
    )
    return f"exec /bin/sh -c '({script}) 2>/dev/null'".encode()


def _quoted(word: bytes) -> bytes:
    return b"'" + word.replace(b"'", b"'\\''") + b"'"


def _folder(path: str) -> bytes:
    if path == "~":
        return b'"$HOME"'
    if path.startswith("~/"):
        return b'"$HOME"/' + _quoted(encoded(path[2:]))
    return _quoted(encoded(path))


PUT = """
case $1 in "~/"*) target=$HOME/${1#"~/"} ;; *) target=$1 ;; esac
[ ! -d "$target" ] || { echo "is a directory" >&2; exit 1; }
umask 077
new=$(dirname -- "$target")/.drorch-$4.tmp
trap 'rm -f -- "$new"' EXIT
cat >"$new" || exit 1
size=$(wc -c <"$new") || exit 1
[ "$size" -eq "$3" ] || { echo "only $size of $3 bytes arrived" >&2; exit 1; }
chmod "$2" "$new" || exit 1
sync -- "$new" 2>/dev/null || sync
mv -f -- "$new" "$target" || exit 1
sync -- "$(dirname -- "$target")" 2>/dev/null || :
"""
"""Writes its input to a file, whole or not at all. Arguments: path, mode in octal, size in bytes, a random word."""

GET = """
case $1 in "~/"*) file=$HOME/${1#"~/"} ;; *) file=$1 ;; esac
[ ! -d "$file" ] || { echo "is a directory" >&2; exit 1; }
exec head -c "$2" <"$file"
"""
"""Prints the first bytes of a file. Arguments: path, number of bytes."""

IDENTITY = """
id=
for file in /etc/machine-id /var/lib/dbus/machine-id; do
    [ -n "$id" ] || { [ -r "$file" ] && IFS= read -r id <"$file"; }
done
printf '%s\\n%s\\n%s\\n%s' "$id" "$(uname -n)" "$(id -un)" "$HOME"
"""
"""Prints machine id, host name, user and home, a line each; the home is the rest, without a newline of its own."""

LISTENERS = "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || :"
"""Prints the kernel's tables of TCP sockets."""

_LISTEN = "0A"
# 127.0.0.1 and ::1 as machines of either byte order write them.
_LOOPBACK = ("0100007F", "7F000001", "00000000000000000000000001000000", "00000000000000000000000000000001")


def exposed(tables: str, port: int) -> bool:
    """Whether the kernel's tables show a listener on this port at another than the loopback address; pure."""
    for line in tables.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTEN:  # noqa: PLR2004 number, local address, remote address, state
            address, _, number = fields[1].rpartition(":")
            if int(number, 16) == port and address not in _LOOPBACK:
                return True
    return False
