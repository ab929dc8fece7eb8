"""The value of a JSON text of which only the beginning has come.

`Partials` closes what is open, and drops what is only half of something: a key, a number, `true`, and by the schema
the text of an enum, a const, a format or a pattern. What is left is a part of what the whole text will be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from brainwires_provider.events import Event, PartStart, ResponseRestart, TextDelta, ToolCallDelta
from brainwires_provider.types.given import members_of, referred

__all__ = ["PIECE", "Partials", "closed", "without_thought"]

_NOTHING: Final = object()
PIECE = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
_HALF_ESCAPE = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3})?$|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?$"
)
_THOUGHT = re.compile(
    r"\s*<(think|thinking|thought|reasoning)>(?:.*?</\1>|.*)|[^{\[]*</(?:think|thinking|thought|reasoning)>",
    re.DOTALL,
)
_CLOSING = {"{": "}", "[": "]"}
_HELD = frozenset(("enum", "const", "format", "pattern", "contentEncoding"))
_KINDS: Final[Mapping[str, type]] = {"object": dict, "array": list, "string": str}
_SPARSE = 64


class Partials:
    """Collects the text of an answer, and gives a value whenever it has grown.

    A long text is looked at each time that it has grown by a 64th, so that the work stays in proportion to it.
    """

    def __init__(self, schema: Mapping[str, Any], wrapped: str | None, forced: str = "") -> None:
        """`forced`: the tool whose arguments are the answer, if it is called; else the text is."""
        self._schema = schema
        self._wrapped = wrapped
        self._forced = forced
        self._call: int | None = None  # the part of the forced tool's arguments
        self._text = ""
        self._next = 0
        self._last: Any = _NOTHING

    def feed(self, event: Event) -> Iterator[Any]:
        """The value after an event, if it is another."""
        if isinstance(event, ResponseRestart):
            self._text, self._next, self._call = "", 0, None
        elif isinstance(event, PartStart) and getattr(event.part, "name", None) == self._forced:
            self._text, self._next, self._call = "", 0, event.index
        elif isinstance(event, (TextDelta, ToolCallDelta)) and self._is_of_answer(event):
            self._text += event.text
            if len(self._text) >= self._next:
                self._next = len(self._text) + len(self._text) // _SPARSE
                yield from self._grown()

    def _is_of_answer(self, event: TextDelta | ToolCallDelta) -> bool:
        is_text = isinstance(event, TextDelta)
        return is_text if self._call is None else not is_text and event.index == self._call

    def _grown(self) -> Iterator[Any]:
        text = without_thought(self._text)
        try:
            found = closed(text[max(text.find("{"), 0) :])
            if found is None:
                return
            value = shown(found.value, self._schema, self._schema) if found.is_open else found.value
        except RecursionError:
            return  # too deep to look into while it grows
        if self._wrapped is not None:
            value = value.get(self._wrapped, _NOTHING) if isinstance(value, dict) else _NOTHING
        if value is not _NOTHING and value != self._last:
            self._last = value
            yield value


def without_thought(text: str) -> str:
    """An answer's text without what some models say in it before: `<think>…</think>`."""
    found = _THOUGHT.match(text)
    return text if found is None else text[found.end() :]


class Closed(NamedTuple):
    """The value of a text that was closed."""

    value: Any
    is_open: bool
    """Whether its last string is only the beginning of one."""


def closed(text: str) -> Closed | None:
    """The value of a text's beginning; None while there is none."""
    stack: list[str] = []
    wants_key = False
    kept, end = 0, ""  # what of the text stands, and what closes it
    for match in PIECE.finditer(text):
        piece = match[0]
        if piece in ",:":
            wants_key = piece == "," and stack[-1:] == ["}"]
            continue
        if piece in _CLOSING:
            stack.append(_CLOSING[piece])
        elif piece in "}]":
            if stack[-1:] != [piece]:
                return None
            stack.pop()
        elif wants_key:
            continue
        elif piece[0] == '"' and not _is_ended(piece):
            kept, end = match.start() + len(_HALF_ESCAPE.sub("", piece)), '"'
            break
        elif piece[0] != '"' and match.end() == len(text):
            break  # more of it may come
        wants_key = piece == "{"
        kept = match.end()
        if not stack:
            break
    return _decoded(text[:kept] + end + "".join(reversed(stack)), bool(end)) if kept else None


def _decoded(text: str, is_open: bool) -> Closed | None:
    try:
        return Closed(msgspec.json.decode(text), is_open)
    except msgspec.DecodeError:
        return None


def _is_ended(piece: str) -> bool:
    """Whether the quote at a string's end is not its first, and not escaped."""
    body = piece[1:-1]
    return len(piece) > 1 and piece[-1] == '"' and (len(body) - len(body.rstrip("\\"))) % 2 == 0


def shown(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """A value whose last string is open, without it where the schema wants a whole one."""
    forms = _forms(schema, root, value)
    if isinstance(value, str):
        return _NOTHING if any(_HELD & form.keys() for form in forms) else value
    if isinstance(value, list):
        last = value[-1]
        inner = [
            form["prefixItems"][len(value) - 1]
            if len(form.get("prefixItems", ())) >= len(value)
            else form.get("items", {})
            for form in forms
        ]
        kept = shown(last, {"anyOf": inner}, root)
        return [*value[:-1], *([] if kept is _NOTHING else [kept])]
    key, last = next(reversed(value.items()))
    inner = [each for form in forms for each in members_of(form, key)]
    kept = shown(last, {"anyOf": inner}, root)
    rest = {name: each for name, each in value.items() if name != key}
    return rest if kept is _NOTHING else {**rest, key: kept}


def _forms(schema: Any, root: Mapping[str, Any], value: Any, depth: int = 0) -> list[Mapping[str, Any]]:
    """The schema, and what of its parts a value may be of."""
    if not isinstance(schema, Mapping) or depth > 20 or not _may_be(schema, value):
        return []
    inner = [each for name in ("anyOf", "oneOf", "allOf") for each in schema.get(name, ())]
    inner += [schema[name] for name in ("then", "else") if name in schema]
    inner += [
        form
        for key, form in schema.get("dependentSchemas", {}).items()
        if isinstance(value, dict) and key in value
    ]
    if isinstance(schema.get("$ref"), str):
        inner.append(referred(root, schema["$ref"]))
    return [schema, *(form for each in inner for form in _forms(each, root, value, depth + 1))]


def _may_be(form: Mapping[str, Any], value: Any) -> bool:
    wanted = form.get("type")
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if kinds is not None and not any(isinstance(value, _KINDS.get(kind, ())) for kind in kinds):
        return False
    *whole, _ = value.items() if isinstance(value, dict) and value else [None]
    members = form.get("properties", {}).items()
    known = {name: each["const"] for name, each in members if isinstance(each, Mapping) and "const" in each}
    return all(known.get(name, each) == each for name, each in (pair for pair in whole if pair))
