"""What a type accepts of JSON, as a tree of forms: each has a schema, and converts values.

`annotations.py` makes the tree of a type, `composites.py` has the forms that hold others. A conversion notes every
problem, in words for a model; what the schema refuses is refused here too, for services that hold a response to a
schema only in part.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

__all__ = [
    "ALL",
    "KINDS",
    "SIMPLE",
    "Alias",
    "Anything",
    "Choice",
    "FixedSchema",
    "Form",
    "Noted",
    "Problem",
    "Problems",
    "Scalar",
    "ScalarFacts",
    "Schema",
    "Writer",
    "as_text",
    "ascii_name",
    "bare",
    "below",
    "either",
    "refuse",
    "refused",
    "shown",
]

Schema: TypeAlias = dict[str, Any]
Problems: TypeAlias = list["Problem"]
_SHOWN = 80
WORDS: Final[Mapping[type, str]] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    list: "an array",
    dict: "an object",
}
ALL: Final = frozenset(WORDS)
SIMPLE: Final = frozenset((str, int, float, bool, NoneType))
KINDS: Final = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


class Problem(Struct, frozen=True, gc=False):
    """One thing that is wrong with a value."""

    path: str
    """Where: "address.lines[2]". Empty: the whole value."""
    message: str
    """What is wrong and what is right, in words for a model."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def shown(value: Any) -> str:
    """A value as JSON, shortened."""
    try:
        text = msgspec.json.encode(value, enc_hook=repr).decode()
    except UnicodeEncodeError:  # half of a surrogate pair
        text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def as_text(value: Any) -> str:
    """What a simple value is as a text: a key of an object, for one."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def either(words: Iterable[str]) -> str:
    """Alternatives in words."""
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def refuse(problems: Problems, path: str, words: str, value: Any) -> Any:
    """Note that a value is not what `words` say."""
    problems.append(Problem(path, f"must be {words}, not {shown(value)}"))
    return None


def refused(problems: Problems, path: str, name: str, error: Exception) -> Any:
    """Note what a type's own code has raised. The text of what no check raises may hold secrets, and stays here."""
    is_check = isinstance(error, (ValueError, TypeError, AssertionError))
    problems.append(Problem(path, (str(error) if is_check else "") or f"is refused by {name}"))
    return None


def below(path: str, key: str) -> str:
    """The path of a member."""
    return f"{path}.{key}" if path else key


class FixedSchema(dict[str, Any]):
    """A schema that does not change, so that what others make of it can be kept with it."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.kept: dict[Any, Any] = {}


class Writer:
    """Writes a schema. A named form stands in its place if it occurs once, else in `$defs`."""

    def __init__(self) -> None:
        self.defs: Schema = {}
        self._names: dict[Form, str] = {}
        self._uses: dict[str, int] = {}

    def whole(self, form: Form) -> Schema:
        """The schema of a form; its root is never a reference."""
        root = form.schema(self)
        name = _referred(root)
        if name in self._uses:
            self._uses[name] -= 1
            root = {**self.defs[name], **{key: note for key, note in root.items() if key != "$ref"}}
        once = {each for each, uses in self._uses.items() if uses == 1 and each != name}
        kept = {
            each: body for each, body in self.defs.items() if self._uses.get(each, 2) and each not in once
        }
        whole: Schema = self._inlined(root, once)
        return {**whole, "$defs": self._inlined(kept, once)} if kept else whole

    def reference(self, form: Form, name: str) -> Schema:
        """A reference to a form, whose body is written at its first."""
        known = self._names.get(form)
        if known is None:
            known = self._names[form] = self.free(ascii_name(name))
            self._uses[known] = 0
            self.defs[known] = {}
            self.defs[known] = form.body(self)
        self._uses[known] += 1
        return {"$ref": f"#/$defs/{known}"}

    def free(self, name: str) -> str:
        """The name, or one after it that no definition has."""
        free, number = name, 1
        while free in self.defs:
            number += 1
            free = f"{name}_{number}"
        return free

    def _inlined(self, node: Any, once: set[str]) -> Any:
        if isinstance(node, list):
            return [self._inlined(each, once) for each in node]
        if not isinstance(node, dict):
            return node
        name = _referred(node)
        if name in once:
            node = {**self.defs[name], **{key: note for key, note in node.items() if key != "$ref"}}
        return {key: self._inlined(each, once) for key, each in node.items()}


def _referred(node: Schema) -> str | None:
    ref = node.get("$ref")
    return ref.removeprefix("#/$defs/") if isinstance(ref, str) else None


def ascii_name(name: str) -> str:
    """What of a name services take: ASCII letters, digits and underscores, or "answer" where it has none."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "answer"


class Form(ABC):
    """What a type accepts."""

    takes: frozenset[type] = ALL
    """The kinds of JSON value, as Python's types."""
    plain: frozenset[type] = frozenset()
    """The kinds of which every value is taken, and is its own Python value: they need no `convert`."""
    rank: int = 1
    """Narrower ones come first where several take a kind."""

    def schema(self, writer: Writer) -> Schema:
        """The JSON Schema, or a reference to it."""
        return self.body(writer)

    @abstractmethod
    def body(self, writer: Writer) -> Schema:
        """The JSON Schema itself."""

    @abstractmethod
    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """The Python value; anything if there was a problem."""

    @property
    def words(self) -> str:
        """What it accepts, for a model."""
        return either(words for kind, words in WORDS.items() if kind in self.takes)

    @property
    def fixed(self) -> Mapping[str, frozenset[tuple[type, Any]]]:
        """The members of an object that have one of few values, with these and their types."""
        return {}

    @property
    def keys(self) -> frozenset[str] | None:
        """The names of an object's members in JSON; None for what is no object of known members."""
        return None


class Anything(Form):
    """Any JSON value, as it is."""

    rank = 9

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        return {}

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        return value


class ScalarFacts(NamedTuple):
    """What is known of one scalar type."""

    words: str
    schema: Schema
    kinds: tuple[type, ...]
    """The kinds of JSON value that it takes."""
    rank: int = 1
    limits: tuple[str, ...] = ()
    """What may limit it, by the names of `msgspec.Meta`."""


class Scalar(Form):
    """A number, a string, true, false, null, or what is written as a string: `msgspec` converts it."""

    def __init__(self, hint: Any, facts: ScalarFacts, limits: Schema, coerce: bool) -> None:
        self._hint = hint
        self._words = facts.words
        self._schema = facts.schema | limits
        self.takes = frozenset(facts.kinds)
        self.plain = frozenset((hint,)) if hint in (str, int, bool) else frozenset()
        self.rank = facts.rank
        self._coerce = coerce

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        return dict(self._schema)

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        if type(value) is float and value.is_integer() and float not in self.takes:
            value = int(value)  # 5.0 is an integer in JSON
        text = ""
        try:
            made = msgspec.convert(value, self._hint, strict=not self._coerce)
            if not isinstance(made, (float, Decimal)) or math.isfinite(made):
                return made
        except (msgspec.ValidationError, ValueError) as error:  # a signalling NaN has no float
            text = str(error)
        limit = "" if ", got " in text or "`" not in text else text.split("`", 2)[2]
        return refuse(problems, path, self._words + limit, value)

    @property
    def words(self) -> str:
        """See `Form`."""
        return self._words


class Choice(Form):
    """One of few values: an Enum or a Literal."""

    rank = 0

    def __init__(self, name: str, values: Iterable[tuple[Any, Any]], coerce: bool) -> None:
        """`values` are JSON values with what they stand for. A `name` is that of a class."""
        self._name = name
        self._values = {(type(given), given): made for given, made in values}
        kinds = {kind for kind, _ in self._values}
        self.takes = frozenset(kinds | {int} if float in kinds else kinds)
        self._coerced = kinds - {str} if coerce else ()

    def schema(self, writer: Writer) -> Schema:
        """See `Form`."""
        return writer.reference(self, self._name) if self._name else self.body(writer)

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        values = [value for _, value in self._values]
        kinds = {KINDS[kind] for kind, _ in self._values}
        listed: Schema = {"const": values[0]} if len(values) == 1 else {"enum": values}
        return {"type": kinds.pop(), **listed} if len(kinds) == 1 else listed

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        if type(value) in SIMPLE:
            for key in self._keys(value):
                if key in self._values:
                    return self._values[key]
        return refuse(problems, path, self.words, value)

    def _keys(self, value: Any) -> Iterator[tuple[type, Any]]:
        """What a value may be: 1 is 1.0, and with `coerce` a text what it says, as for the types themselves."""
        yield type(value), value
        if type(value) in (int, float):
            yield (float if type(value) is int else int), value
        for kind in self._coerced:
            if type(value) is str or kind is bool:
                with suppress(msgspec.ValidationError):
                    yield kind, msgspec.convert(value, kind, strict=False)

    @property
    def words(self) -> str:
        """See `Form`."""
        return either(shown(value) for _, value in self._values)

    @property
    def values(self) -> frozenset[tuple[type, Any]]:
        """The JSON values, with their types."""
        return frozenset(self._values)


# -- several forms -------------------------------------------------------------------------------------------


class Noted(Form):
    """A form with notes in its schema: a description, examples. Without notes, one that is set later."""

    def __init__(self, inner: Form, notes: Schema) -> None:
        self.inner = inner
        self._notes = notes

    @property
    def takes(self) -> frozenset[type]:  # type: ignore[override]
        """See `Form`."""
        return self.inner.takes

    @property
    def plain(self) -> frozenset[type]:  # type: ignore[override]
        """See `Form`."""
        return self.inner.plain

    def schema(self, writer: Writer) -> Schema:
        """See `Form`."""
        return self.inner.schema(writer) | self._notes

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        return self.inner.body(writer) | self._notes

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        return self.inner.convert(value, path, problems)

    @property
    def words(self) -> str:
        """See `Form`."""
        return self.inner.words

    @property
    def fixed(self) -> Mapping[str, frozenset[tuple[type, Any]]]:
        """See `Form`."""
        return self.inner.fixed

    @property
    def keys(self) -> frozenset[str] | None:
        """See `Form`."""
        return self.inner.keys


class Alias(Noted):
    """A form by a name, which may occur in itself: `type Json = …`."""

    def __init__(self, name: str) -> None:
        super().__init__(Anything(), {})
        self._name = name

    def schema(self, writer: Writer) -> Schema:
        """See `Form`."""
        return writer.reference(self, self._name)


def bare(form: Form) -> Form:
    """A form without its notes."""
    while isinstance(form, Noted):
        form = form.inner
    return form
