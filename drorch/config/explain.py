"""Pydantic's errors in plain words: where, what is wrong, what to do, the nearest right word.

No value that a user wrote is ever repeated here, apart from keys, kinds and names: a value may be a secret by mistake.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drorch.config.docs import descriptions, plain
from drorch.config.shape import Spot, at, keys_of, spot
from drorch.config.yaml import Document, Path
from drorch.core.errors import Problem
from drorch.core.host import SshHostSpec
from drorch.core.model import NAME_PATTERN
from drorch.core.secret import SecretSpec

SECRET_HINT: Final = "write {secret: NAME} and say under secrets: in the inventory where NAME comes from"  # noqa: S105 - words
_SPEC_HINT: Final = "write {env: VARIABLE}, {file: PATH}, {command: [PROGRAM, …]} or {credential: NAME}"
_MANY: Final = 24
"""So many names fit into a hint."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is none: the nearest one, else all of them."""
    words = list(known)
    folded = {name.lower(): name for name in words}
    near = get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]}?"
    if not words:
        return "there is none"
    shown = ", ".join(words[:_MANY]) + (", …" if len(words) > _MANY else "")
    return f"there is {shown}" if len(words) == 1 else f"one of {shown}"


def explained(error: ValidationError, model: type[BaseModel], document: Document) -> tuple[tuple[Path, Problem], ...]:
    """Every error with the path of what is wrong, each once; none about what the reader has refused already."""
    found: dict[Path, Problem] = {}
    # Of a union's members, the one whose own validator looked at the value knows best what is wrong with it.
    for detail in sorted(
        error.errors(include_url=False, include_input=False), key=lambda one: one["type"] != "value_error"
    ):
        place = spot(model, detail["loc"])
        if any(place.path[: len(broken)] == broken for broken in document.broken):
            continue
        for path, message, hint in _say(detail, place, document):
            if path not in found:
                found[path] = document.problem(path, message, hint)
    # A list that is said to be too short because its items are wrong is not too short.
    return tuple((path, problem) for path, problem in found.items() if not _consequence(path, problem, found))


def _consequence(path: Path, problem: Problem, found: Mapping[Path, Problem]) -> bool:
    return problem.message == _EMPTY and any(len(other) > len(path) and other[: len(path)] == path for other in found)


_EMPTY: Final = "must not be empty"


def _say(detail: ErrorDetails, place: Spot, document: Document) -> Iterator[tuple[Path, str, str]]:
    value = at(document.data, place.path)
    kind = detail["type"]
    if place.secret:
        yield place.path, *_about_secret(detail, place, value)
    elif SecretSpec in (place.owner, _class_named(detail)) and kind in {"extra_forbidden", "model_type"}:
        yield _about_secret_spec(detail, place)
    elif place.key_itself:
        yield place.path, "is no name that can stand here", _pattern_hint(detail, place)
    elif place.members:
        yield place.path, "is none of what may stand here", _about(place)
    elif kind == "extra_forbidden":
        yield place.path, "unknown key", nearest(str(place.path[-1]), _allowed(place))
    elif kind == "missing":
        yield place.path, "is missing", _about(place) or f"add {place.path[-1]}: …"
    elif kind == "union_tag_invalid":
        yield _about_tag(detail, place)
    elif kind == "union_tag_not_found":
        yield _about_no_tag(place, value, detail)
    else:
        yield place.path, *_about_value(detail, place, value)


def _class_named(detail: ErrorDetails) -> type[BaseModel] | None:
    return SecretSpec if (detail.get("ctx") or {}).get("class_name") == SecretSpec.__name__ else None


def _about_secret_spec(detail: ErrorDetails, place: Spot) -> tuple[Path, str, str]:
    if detail["type"] == "model_type":
        return place.path, "must say where the secret comes from, never the secret itself", _SPEC_HINT
    # The key is not named: with a slip of the pen it is the secret.
    return place.path[:-1], "has an unknown key", nearest(str(place.path[-1]), keys_of(SecretSpec))


def _about_secret(detail: ErrorDetails, place: Spot, value: object) -> tuple[str, str]:
    text_allowed = str in [_bare(member) for member in place.members]
    if isinstance(value, str) and text_allowed and detail["type"] == "value_error":
        said = _said(detail)
        return (said.replace(value, "…") if value else said), ""
    if text_allowed:
        return "must be text or {secret: NAME}", SECRET_HINT
    if isinstance(value, Mapping):
        return "must be {secret: NAME} and nothing else", SECRET_HINT
    if value is None:
        return "has no value", SECRET_HINT
    return "must be the name of a secret, never the secret itself", SECRET_HINT


def _bare(annotation: Any) -> Any:  # noqa: ANN401 - annotations have no common type
    return getattr(annotation, "__origin__", annotation)


def _allowed(place: Spot) -> tuple[str, ...]:
    own = keys_of(place.owner) if place.owner else ()
    # A host without a readable `address` counts as local: its other keys are an SSH host's.
    if place.owner is not None and "connector" in place.owner.model_fields:
        return (*own, *(key for key in keys_of(SshHostSpec) if key not in own))
    return own


def _about_tag(detail: ErrorDetails, place: Spot) -> tuple[Path, str, str]:
    context = detail.get("ctx") or {}
    key = str(context.get("discriminator", "")).strip("'")
    key = key if key.isidentifier() else "connector"
    tag = str(context.get("tag", ""))[:60]
    known = re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
    return (*place.path, key), f"unknown {key} {tag}", nearest(tag, known)


def _about_no_tag(place: Spot, value: object, detail: ErrorDetails) -> tuple[Path, str, str]:
    key = str((detail.get("ctx") or {}).get("discriminator", "kind")).strip("'")
    if not key.isidentifier():  # the key itself is the word
        words = ", ".join(map(str, value)) if isinstance(value, Mapping) else str(value)
        return place.path, f"unknown word {words[:60]}" if words else "has no value", "drorch schema runbook has them"
    if value is None:
        return place.path, "has no value", f"write {{{key}: …}}"
    if not isinstance(value, Mapping):
        return place.path, "must be a mapping", f"write {{{key}: …}}"
    for said in value:
        near = get_close_matches(str(said), [key, "parallel"], n=1, cutoff=0.7)
        if near and said != near[0]:
            return (*place.path, said), "unknown key", f"did you mean {near[0]}?"
    if value.get(key, "") is None:
        return (*place.path, key), "has no value", "give one"
    return (*place.path, key), "is missing", f"add {key}: …"


def _about_value(detail: ErrorDetails, place: Spot, value: object) -> tuple[str, str]:
    kind, context = detail["type"], detail.get("ctx") or {}
    message, hint = (
        next(
            (words(context) for pattern, words in _WORDS if re.fullmatch(pattern, kind)),
            detail["msg"][:1].lower() + detail["msg"][1:],
        ),
        _about(place),
    )
    if kind == "value_error":
        message, _, hint = _said(detail).partition("; ")
    elif value is None:
        message, hint = "has no value", hint or "give one, or remove the line"
    elif kind in {"literal_error", "enum"}:
        known = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        message, hint = f"must be one of {', '.join(known)}", nearest(value, known) if isinstance(value, str) else ""
    elif kind == "string_pattern_mismatch":
        hint = _pattern_hint(detail, place)
    elif kind == "string_type" and isinstance(value, bool | int | float):
        hint = "put it in quotes"
    return message, hint


_Words = Callable[[Mapping[str, Any]], str]

_WORDS: Final[tuple[tuple[str, _Words], ...]] = (
    (r"string_type", lambda _: "must be text"),
    (r"string_pattern_mismatch", lambda _: "is not of the form that it must have"),
    (r"string_too_long|too_long", lambda context: f"must not be longer than {context.get('max_length')}"),
    (r"string_too_short|too_short", lambda _: _EMPTY),
    (r"int_.*", lambda _: "must be a whole number"),
    (r"float_.*|finite_number", lambda _: "must be a number"),
    (r"bool_.*", lambda _: "must be true or false"),
    (r"(model|dict|mapping|dataclass)_.*type", lambda _: "must be a mapping: keys with values"),
    (r"(list|tuple|set)_type", lambda _: "must be a list: [a, b], or lines that begin with `- `"),
    (r"greater_than_equal", lambda context: f"must be at least {context.get('ge')}"),
    (r"greater_than", lambda context: f"must be more than {context.get('gt')}"),
    (r"less_than_equal", lambda context: f"must be at most {context.get('le')}"),
    (r"less_than", lambda context: f"must be less than {context.get('lt')}"),
)
"""Error types by pattern → what they mean."""


def _said(detail: ErrorDetails) -> str:
    """The words of one of our own validators."""
    return str((detail.get("ctx") or {}).get("error", detail["msg"]))


def _pattern_hint(detail: ErrorDetails, place: Spot) -> str:
    if (detail.get("ctx") or {}).get("pattern") == NAME_PATTERN or detail["type"] != "string_pattern_mismatch":
        return "a name has lower-case letters, digits, - and _, begins with a letter or digit, at most 63 in all"
    return _about(place)


def _about(place: Spot) -> str:
    """What the innermost field is, in its author's words."""
    if place.owner is None or not place.path:
        return ""
    for name, info in place.owner.model_fields.items():
        if place.path[-1] == (info.alias or name):
            return plain(descriptions(place.owner).get(name, ""))
    return ""
