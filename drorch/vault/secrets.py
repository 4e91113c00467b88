"""Secret values: where they are read, and how texts are cleaned of them."""

import base64
import html
import json
import os
import re
import shlex
import stat
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

from drorch.core.errors import DrorchError, SecretError
from drorch.core.host import Command, Ended, Host
from drorch.core.model import Json, SecretRef
from drorch.core.secret import Secret, SecretSpec

LIMIT = 64 * 1024
"""Bytes that a secret's value has at most."""

COMMAND_SECONDS = 30.0
"""How long a command may take to print a value."""

SHORTEST = 4
"""Values with fewer characters are not redacted: they stand in half of all words."""

_LONG = 12
"""Least characters of a piece of a value (a line of it, half a line, its core in other base64) that is redacted by
itself."""

_PARTS = re.compile("[:=]")
"""Before the second half of a line such as ``user:password`` or ``key = value``: programs show it without the first."""

_CHANGEABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class SecretStore:
    """The secrets of an inventory, each read when first asked for and then kept; may be shared by threads."""

    def __init__(self, specs: Mapping[str, SecretSpec], controller: Host, env: Mapping[str, str]) -> None:
        self._specs = dict(specs)
        self._controller = controller
        self._env = env
        self._read: dict[str, Secret] = {}
        self._forms: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, ref: SecretRef) -> Secret:
        """The secret of that name.

        Raises:
            SecretError: it is unknown, empty, unreadable, or its file is readable by others.
        """
        name = ref.secret
        with self._lock:
            if name not in self._read:
                self._read_anew(name)
            return self._read[name]

    def renew(self, ref: SecretRef) -> Secret:
        """The secret of that name, read anew; what was handed out before stays redacted.

        Raises:
            SecretError: as `get`.
        """
        with self._lock:
            self._read_anew(ref.secret)
            return self._read[ref.secret]

    def redact(self, text: str) -> str:
        """The text with every value handed out so far replaced by ``[secret NAME]``.

        A value is found as it is and as JSON, URLs, HTML, shells, Python and base64 (also amid other bytes) write it.
        """
        spans = sorted(_spans(text, self._forms), key=lambda span: (span[0], -span[1]))
        if not spans:
            return text
        pieces: list[str] = []
        done = 0
        for start, end, name in spans:
            # Values that overlap are one stretch: what sticks out of the first is no less secret.
            if start >= done:
                pieces += [text[done:start], f"[secret {name}]"]
            done = max(done, end)
        return "".join([*pieces, text[done:]])

    def redact_json(self, value: Json) -> Json:
        """The value with its texts and keys redacted; unlike JSON text that is redacted, it surely stays JSON."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self.redact(key): self.redact_json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_json(item) for item in value]
        return value

    @property
    def too_short(self) -> frozenset[str]:
        """Names of the secrets handed out that are too short to be redacted: worth a warning."""
        return frozenset(name for name, secret in self._read.items() if len(secret.reveal()) < SHORTEST)

    def __repr__(self) -> str:
        return f"SecretStore({', '.join(sorted(self._specs))})"

    def _read_anew(self, name: str) -> None:
        value = self._value(name)
        self._forms = {**_forms(name, value), **self._forms}
        self._read[name] = Secret(name, value)

    def _value(self, name: str) -> str:
        spec = self._specs.get(name)
        if spec is None:
            raise SecretError(f"no secret {name}", hint="define it under secrets: in the inventory")
        if spec.env is not None:
            value = self._env.get(spec.env)
            if value is None:
                raise SecretError(f"secret {name}: the environment variable {spec.env} is not set", hint="set it")
            return _checked(name, value)
        if spec.file is not None:
            return _checked(name, _text(name, _file(name, self._path(name, spec.file), group_may_read=False)))
        if spec.credential is not None:
            return _checked(name, _text(name, self._credential(name, spec.credential)))
        return _checked(name, _text(name, self._command(name, spec.command or ())))

    def _path(self, name: str, said: str) -> Path:
        home = self._env.get("HOME", "")
        path = Path(home, said.removeprefix("~/")) if said.startswith("~/") and home else Path(said)
        if not path.is_absolute():
            raise SecretError(
                f"secret {name}: {said} is no absolute path",
                hint="the folder in which drorch is started must not decide which file is read: begin with / or ~/",
            )
        return path

    def _credential(self, name: str, credential: str) -> bytes:
        folder = self._env.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise SecretError(
                f"secret {name}: systemd gave no credentials to this process",
                hint=f"start drorch as a service with LoadCredential={credential}:… or LoadCredentialEncrypted=",
            )
        # systemd grants a service's user the file by an access control list, which shows as the group's right to read.
        return _file(name, Path(folder, credential), group_may_read=True)

    def _command(self, name: str, argv: tuple[str, ...]) -> bytes:
        # Nothing of the command's output or complaints is shown: either can hold the value.
        try:
            ended = self._controller.run(Command(argv, timeout=COMMAND_SECONDS, output_limit=LIMIT + 2))
        except DrorchError as error:
            retryable = error.retryable
        else:
            if ended.ok and not ended.truncated:
                return ended.stdout
            if ended.ok:
                raise _too_large(name)
            if ended.ended is Ended.EXITED:
                raise SecretError(
                    f"secret {name}: {argv[0]} ended with exit code {ended.exit_code}",
                    hint="run its command by hand, as the user that drorch runs as",
                )
            retryable = True
        raise SecretError(
            f"secret {name}: {argv[0]} could not be run, or not within {COMMAND_SECONDS:g} s",
            hint="run its command by hand, as the user that drorch runs as; it must not ask for anything",
            retryable=retryable,
        )


def _file(name: str, path: Path, *, group_may_read: bool) -> bytes:
    """The file's bytes, at most one more than the limit; checked on the opened file, after all links."""
    wrong = ""
    try:
        # Not blocking: a pipe that lies there must not hold the run.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            _check_file(name, path, os.fstat(descriptor), group_may_read=group_may_read)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(LIMIT + 3)
        finally:
            os.close(descriptor)
    except OSError as error:
        wrong = error.strerror or type(error).__name__
    raise SecretError(f"secret {name}: {path} cannot be read: {wrong}", hint="check the path and its owner")


def _check_file(name: str, path: Path, facts: os.stat_result, *, group_may_read: bool) -> None:
    forbidden = stat.S_IRWXO | stat.S_IWGRP | (0 if group_may_read else stat.S_IRWXG)
    if not stat.S_ISREG(facts.st_mode):
        raise SecretError(f"secret {name}: {path} is no regular file", hint="name a file")
    if facts.st_uid not in {os.geteuid(), 0}:
        raise SecretError(
            f"secret {name}: {path} belongs to user {facts.st_uid}, who can change it",
            hint="make it the file of the user that drorch runs as, or root's",
        )
    if facts.st_mode & forbidden:
        what = "changed" if facts.st_mode & _CHANGEABLE_BY_OTHERS else "read"
        raise SecretError(
            f"secret {name}: {path} can be {what} by others (mode {stat.S_IMODE(facts.st_mode):04o})",
            hint=f"chmod 600 {path}",
        )


def _text(name: str, raw: bytes) -> str:
    for newline in (b"\r\n", b"\n"):
        if raw.endswith(newline):
            raw = raw[: -len(newline)]
            break
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass  # raised below, without the error that holds the bytes
    raise SecretError(f"secret {name} is no UTF-8 text", hint="store binary values as base64")


def _checked(name: str, value: str) -> str:
    if not value:
        raise SecretError(f"secret {name} is empty", hint="an empty value would be used as it is: fill it in")
    if len(value.encode("utf-8", "surrogateescape")) > LIMIT:
        raise _too_large(name)
    if "\0" in value:
        raise SecretError(f"secret {name} holds a NUL character", hint="no environment can carry it: use text")
    return value


def _too_large(name: str) -> SecretError:
    return SecretError(f"secret {name} has more than {LIMIT} bytes", hint="is this the right file or command?")


def _spans(text: str, forms: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
    """Where any of the forms stands, overlapping ones too."""
    for form, name in forms.items():
        start = text.find(form)
        while start >= 0:
            yield start, start + len(form), name
            start = text.find(form, start + 1)


def _forms(name: str, value: str) -> dict[str, str]:
    """Each way in which the value may be written, with the name."""
    if len(value) < SHORTEST:
        return {}
    lines = [line.strip() for line in value.splitlines()]
    parts = [part.strip() for line in lines for part in _PARTS.split(line, maxsplit=1)[1:]]
    pieces = [value, *(piece for piece in (*lines, *parts) if len(piece) >= _LONG and not piece.startswith("-----"))]
    return {form: name for piece in pieces for form in _written(piece) if len(form) >= SHORTEST}


def _written(value: str) -> Iterator[str]:
    raw = value.encode("utf-8", "surrogateescape")
    yield value
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1]
    for safe in ("", "/", "/:@!$&'()*+,;=~?"):
        quoted = urllib.parse.quote(raw, safe=safe)
        yield quoted
        yield quoted.replace("%20", "+")
        yield _lower_escapes(quoted)
    yield html.escape(value)
    yield html.escape(value, quote=False)
    yield shlex.quote(value).strip("'")
    yield repr(value)[1:-1]
    yield repr(raw)[2:-1]
    yield raw.hex()
    for altchars in (b"+/", b"-_"):
        whole = base64.b64encode(raw, altchars).decode("ascii")
        yield whole
        yield whole.rstrip("=")
        for before in (1, 2):
            # Amid other bytes, as in `user:password`: the letters that only the value decides.
            shifted = base64.b64encode(b"\0" * before + raw, altchars).decode("ascii").rstrip("=")
            core = shifted[before + 1 : (before + len(raw)) * 8 // 6]
            if len(core) >= _LONG:
                yield core
        core = whole[: len(raw) * 8 // 6]
        if len(core) >= _LONG:
            yield core


def _lower_escapes(quoted: str) -> str:
    first, *others = quoted.split("%")
    return "%".join([first, *(other[:2].lower() + other[2:] for other in others)])
