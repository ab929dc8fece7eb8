"""From a type to its form: see `forms.py`. A type that has none is a TypeError that names it, its place, and a remedy.

Pydantic is never imported here: its models exist only where the user's program has imported it, and they validate
themselves.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, InitVar, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from inspect import cleandoc
from json import dumps
from operator import attrgetter
from types import NoneType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
)
from uuid import UUID

import msgspec
from msgspec import NODEFAULT, UNSET, Meta

from brainwires_provider.types.composites import Array, Dictionary, FixedArray, Member, Object, OneOf, Tagged
from brainwires_provider.types.forms import (
    SIMPLE,
    Alias,
    Anything,
    Choice,
    Form,
    Noted,
    Scalar,
    ScalarFacts,
    Schema,
)
from brainwires_provider.types.generics import bound_of, hints_of, substituted
from brainwires_provider.types.validated import Validated

__all__ = ["Builder", "Field", "label", "title"]

_NUMBER = ("gt", "ge", "lt", "le", "multiple_of")
_TEXT = ("min_length", "max_length", "pattern")
_SIZE = ("min_length", "max_length")
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}


_KNOWN = frozenset((*_LIMITS, "tz"))
_NOTES = frozenset(("Unit", "DocInfo"))
"""What of annotated-types limits nothing."""


def _format(name: str) -> Schema:
    return {"type": "string", "format": name}


_DECIMAL = r"^-?[0-9]+(\.[0-9]+)?$"
_SCALARS: Mapping[Any, ScalarFacts] = {
    NoneType: ScalarFacts("null", {"type": "null"}, (NoneType,), 0),
    bool: ScalarFacts("true or false", {"type": "boolean"}, (bool,), 0),
    int: ScalarFacts("an integer", {"type": "integer"}, (int,), 1, _NUMBER),
    float: ScalarFacts("a number", {"type": "number"}, (float, int), 2, _NUMBER),
    str: ScalarFacts("a string", {"type": "string"}, (str,), 3, _TEXT),
    bytes: ScalarFacts("bytes in Base64", {"type": "string", "contentEncoding": "base64"}, (str,), 1, _SIZE),
    datetime: ScalarFacts("a date and time (RFC 3339)", _format("date-time"), (str,), 1, ("tz",)),
    date: ScalarFacts("a date (RFC 3339)", _format("date"), (str,)),
    time: ScalarFacts("a time (RFC 3339)", _format("time"), (str,), 1, ("tz",)),
    timedelta: ScalarFacts("a duration (ISO 8601)", _format("duration"), (str,)),
    UUID: ScalarFacts("a UUID", _format("uuid"), (str,)),
    Decimal: ScalarFacts("a decimal number", {"type": "string", "pattern": _DECIMAL}, (str, int, float), 2),
}
_ARRAYS: Mapping[Any, Callable[[Any], Any]] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), list),
    **dict.fromkeys((set, abc.Set, abc.MutableSet), set),
    frozenset: frozenset,
}
_DICTIONARIES = frozenset((dict, abc.Mapping, abc.MutableMapping))
_TRANSPARENT = frozenset(("Required", "NotRequired", "ReadOnly", "Final"))
_REMEDIES: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (lambda hint: getattr(hint, "__module__", "").startswith("pathlib"), "str"),
    (lambda hint: hint is complex, "a tuple of two floats"),
    (lambda hint: hint in (re.Pattern, re.Match), "str"),
)


class Field(NamedTuple):
    """One named value: a parameter of a function, or a field of a class."""

    name: str
    annotation: Any
    """Resolved: no text. See `hints_of`."""
    default: Any = NODEFAULT
    """NODEFAULT: it is required. UNSET, or a value that is no JSON, is not in the schema."""
    description: str | None = None
    """For the model, where the annotation has none."""
    key: str | None = None
    """The name in JSON, if it is another."""


class Builder:
    """Makes forms. With `coerce`, texts are taken where a number, true, false or null is asked for."""

    def __init__(self, coerce: bool) -> None:
        self._coerce = coerce
        self._known = _Memory()

    def form(self, hint: Any, place: str, description: str | None = None) -> Form:
        """The form of a type. Raises TypeError."""
        hint, metas = _peeled(hint)
        if any(hasattr(meta, "__get_pydantic_core_schema__") for meta in metas):
            return self._validated(Annotated[hint, *metas], place)
        limits, notes = _read(metas)
        if limits.others:
            _check_others(limits.others, place)
            return self._validated(Annotated[hint, *metas], place)
        form = self._form(hint, place, limits)
        if unused := limits.values.keys() - limits.used:
            raise TypeError(f"{place}: {title(hint)} cannot be limited by {', '.join(sorted(unused))}")
        if description is not None:
            notes = {"description": description, **notes}
        return Noted(form, notes) if notes else form

    def _form(self, hint: Any, place: str, limits: _Limits) -> Form:
        if isinstance(hint, TypeVar):
            return self.form(bound_of(hint), place)
        origin = get_origin(hint) or hint
        if origin is Literal:
            return Choice("", [_literal(each, place) for each in get_args(hint)], self._coerce)
        if origin is typing.Union or origin is types.UnionType:
            return self._union(hint, place, limits)
        if hasattr(origin, "__value__"):
            return self._alias(hint, origin, place)
        if hint in (Any, object):
            return Anything()
        if isinstance(origin, type):
            return self._of_class(hint, origin, place, limits)
        if isinstance(hint, (str, typing.ForwardRef)):
            raise TypeError(f"{place}: the annotation {hint!r} is a text that was not resolved")
        raise _unsupported(hint, place)

    def _of_class(self, hint: Any, origin: type, place: str, limits: _Limits) -> Form:
        args = get_args(hint)
        if hint is origin and hint in _SCALARS:
            return self._scalar(hint, limits)
        if origin in _ARRAYS:
            return self._array(origin, args[0] if args else Any, place, limits, _ARRAYS[origin])
        if origin is tuple:
            if hint is tuple or args[1:] == (...,):
                return self._array(origin, args[0] if args else Any, place, limits, tuple)
            return FixedArray([self.form(each, f"{place}[{i}]") for i, each in enumerate(args)])
        if origin in _DICTIONARIES:
            return self._dictionary(args or (str, Any), place, limits)
        known = self._known.get(hint)
        if known is None:
            known = self._named(hint, origin, place)
        return known

    def _named(self, hint: Any, cls: Any, place: str) -> Form:
        if "pydantic" in sys.modules and _is_pydantic(cls):
            return self._validated(hint, place)
        if issubclass(cls, Enum):
            made: Form = Choice(
                cls.__name__, [(_simple(each.value, each, place), each) for each in cls], self._coerce
            )
            if not made.takes:
                raise TypeError(f"{place}: the Enum {cls.__name__} has no member")
            self._known.keep(hint, made)
            return made
        try:
            found = _fields_of(cls)
            hints = {} if found is None else substituted(hint, cls)
        except TypeError as error:
            raise TypeError(f"{place}: {error}") from None
        if found is None:
            raise _unsupported(hint, place)
        config = getattr(cls, "__struct_config__", None)
        inner = Object(label(hint), _documented(cls), cls)
        made = inner
        if config is not None and config.tag is not None:
            made = Tagged(inner, label(hint), config.tag_field, config.tag)
        self._known.keep(hint, made)
        listed = [each._replace(annotation=hints.get(each.name, Any)) for each in found]
        inner.members = self.members(listed, place)
        return made

    def members(self, found: Iterable[Field], place: str) -> tuple[Member, ...]:
        """The members of an object. Raises TypeError."""
        return tuple(
            Member(
                each.name,
                each.key or each.name,
                self.form(each.annotation, f"{place}.{each.name}", each.description),
                each.default is NODEFAULT,
                _default(each.default),
            )
            for each in found
            if get_origin(each.annotation) is not ClassVar and each.annotation is not ClassVar
        )

    def _scalar(self, hint: Any, limits: _Limits) -> Form:
        facts = _SCALARS[hint]
        own = limits.take(facts.limits)
        listed = {_LIMITS[name]: value for name, value in own.items() if name in _LIMITS}
        return Scalar(Annotated[hint, Meta(**own)] if own else hint, facts, listed, self._coerce)

    def _array(self, origin: Any, item: Any, place: str, limits: _Limits, make: Callable[[Any], Any]) -> Form:
        if issubclass(origin, abc.Set) and not _is_hashable(_peeled(item)[0]):
            raise TypeError(f"{place}: {title(item)} cannot be in a set: use a list, or make it frozen")
        return Array(self.form(item, f"{place}[]"), make, limits.take(_SIZE))

    def _dictionary(self, args: Sequence[Any], place: str, limits: _Limits) -> Form:
        key = Builder(coerce=True).form(args[0], f"{place} (its keys)")
        if not (key.takes & {str, int, float, bool}) or key.takes & {list, dict}:
            raise TypeError(f"{place}: {title(args[0])} cannot be a key: keys are strings in JSON")
        return Dictionary(key, self.form(args[1], f"{place}[]"), limits.take(_SIZE))

    def _union(self, hint: Any, place: str, limits: _Limits) -> Form:
        known = None if limits.values else self._known.get(hint)
        if known is not None:
            return known
        hints = [each for each in get_args(hint) if each is not msgspec.UnsetType]
        forms: list[Form] = []
        names: list[str] = []
        for each in hints:
            bare_hint, metas = _peeled(each)
            form = self._form(bare_hint, place, limits) if not metas else self.form(each, place)
            forms.append(form)
            names.append(_free(label(bare_hint), names))
        made = OneOf(forms, names) if len(forms) > 1 else forms[0]
        if not limits.values:
            self._known.keep(hint, made)
        return made

    def _alias(self, hint: Any, origin: Any, place: str) -> Form:
        known = self._known.get(hint)
        if known is None:
            known = alias = Alias(label(hint))
            self._known.keep(hint, alias)
            value, args = origin.__value__, get_args(hint)
            alias.inner = self.form(value[args] if args else value, place)
        return known

    def _validated(self, hint: Any, place: str) -> Form:
        known = self._known.get(hint)
        if known is None:
            known = Validated(hint, place)
            self._known.keep(hint, known)
        return known


class _Memory:
    """The forms of types, of which some have no hash: what they are annotated with has none."""

    def __init__(self) -> None:
        self._hashed: dict[Any, Form] = {}
        self._others: list[tuple[Any, Form]] = []

    def get(self, hint: Any) -> Form | None:
        try:
            return self._hashed.get(hint)
        except TypeError:
            return next((form for known, form in self._others if _is_same(known, hint)), None)

    def keep(self, hint: Any, form: Form) -> None:
        try:
            self._hashed[hint] = form
        except TypeError:
            self._others.append((hint, form))


def _is_same(hint: Any, other: Any) -> bool:
    try:
        return bool(hint == other)
    except TypeError:  # unions compare by hash
        return False


# -- hints ---------------------------------------------------------------------------------------------------


class _Limits:
    """Annotated limits by msgspec's names, and which of them a form has taken."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self.used: set[str] = set()
        self.others: list[Any] = []
        """Constraints of Pydantic and annotated-types that only Pydantic checks."""

    def add(self, constraint: Any) -> None:
        """What it limits, or itself if that is not all that it says."""
        said = _said(constraint)
        if said.keys() <= _KNOWN and said.get("tz", True) in (True, False):
            self.values |= said
        else:
            self.others.append(constraint)

    def take(self, names: Iterable[str]) -> dict[str, Any]:
        taken = {name: self.values[name] for name in names if name in self.values}
        self.used |= taken.keys()
        return taken


def _peeled(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without `Annotated`, `NewType`, `Required` and the like, and what it was annotated with."""
    metas: tuple[Any, ...] = ()
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            metas = (*hint.__metadata__, *metas)
            hint = hint.__origin__
        elif getattr(origin, "_name", None) in _TRANSPARENT:
            hint = get_args(hint)[0]
        elif isinstance(hint, InitVar):
            hint = hint.type
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        else:
            return (NoneType if hint is None else hint), metas


def _read(metas: Iterable[Any]) -> tuple[_Limits, Schema]:
    """The limits and the notes of annotations: msgspec's, Pydantic's and annotated-types' have the same names."""
    limits = _Limits({})
    notes: Schema = {}
    for meta in metas:
        if isinstance(meta, str):
            notes["description"] = meta
        elif isinstance(meta, Meta) or _is_constraint(meta):
            given = {name: getattr(meta, name, None) for name in ("title", "description", "examples")}
            notes |= {name: value for name, value in given.items() if value is not None}
            notes |= getattr(meta, "extra_json_schema", None) or {}
            for each in (meta,) if isinstance(meta, Meta) else _single(meta):
                limits.add(each)
    return limits, notes


def _said(constraint: Any) -> dict[str, Any]:
    """What a constraint says, by msgspec's names where it has them."""
    if type(constraint).__name__ == "Timezone":
        return {"tz": {None: False, ...: True}.get(constraint.tz, constraint.tz)}
    names = map(attrgetter("name"), fields(constraint)) if is_dataclass(constraint) else _KNOWN
    given = {name: getattr(constraint, name, None) for name in (*names, *getattr(constraint, "__dict__", ()))}
    pattern = given.get("pattern")
    if isinstance(pattern, re.Pattern):
        given["pattern"] = pattern.pattern
    return {name: value for name, value in given.items() if value is not None}


def _is_constraint(meta: Any) -> bool:
    """Whether it is one of Pydantic's or annotated-types', or a group of these."""
    is_theirs = type(meta).__module__.partition(".")[0] in ("pydantic", "annotated_types")
    return is_theirs or hasattr(meta, "__is_annotated_types_grouped_metadata__")


def _check_others(constraints: Iterable[Any], place: str) -> None:
    """Raises TypeError for a constraint that nobody would check."""
    for each in constraints:
        if type(each).__name__ == "Timezone":
            raise TypeError(f"{place}: nobody checks {each!r}; use Timezone(...), or a class that checks it")
        if "pydantic" not in sys.modules:
            raise TypeError(f"{place}: only Pydantic checks {each!r}: import pydantic, or leave it out")


def _single(meta: Any) -> Iterable[Any]:
    """The constraints of a group, or of Pydantic's `Field`."""
    if hasattr(meta, "__is_annotated_types_grouped_metadata__"):
        return [each for inner in meta for each in _single(inner)]
    if hasattr(meta, "metadata"):
        return [each for inner in meta.metadata for each in _single(inner)]
    is_note = type(meta).__name__ in _NOTES or not _is_constraint(meta)
    return [] if is_note else [meta]


def title(hint: Any) -> str:
    """A type's name in messages."""
    return str(hint) if get_args(hint) else getattr(hint, "__qualname__", str(hint))


def label(hint: Any) -> str:
    """A name for a schema, of letters, digits and underscores; `ascii_name` is what services take of it."""
    hint = _peeled(hint)[0]
    origin = get_origin(hint) or hint
    if origin is types.UnionType or not (isinstance(origin, type) or hasattr(origin, "__value__")):
        return "answer"
    words = [origin.__name__, *map(label, get_args(hint))]
    return re.sub(r"\W+", "_", "_".join(words)).strip("_")[:64]


def _free(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else _free(f"{name}_", taken)


def _unsupported(hint: Any, place: str) -> TypeError:
    remedy = next((words for is_it, words in _REMEDIES if is_it(hint)), None)
    return TypeError(
        f"{place}: {title(hint)} has no form in JSON; use "
        + (remedy or "a dataclass, a TypedDict, a msgspec Struct, a Pydantic model or a built-in type")
    )


def _simple(value: Any, source: Any, place: str) -> Any:
    if type(value) not in SIMPLE:
        raise TypeError(f"{place}: {source!r} has no form in JSON; use a string, a number, a boolean or None")
    return value


def _literal(value: Any, place: str) -> tuple[Any, Any]:
    return _simple(value.value if isinstance(value, Enum) else value, value, place), value


def _is_hashable(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    config = getattr(origin, "__struct_config__", None)
    if config is not None:
        return bool(config.frozen or not config.eq)
    return getattr(origin, "__hash__", None) is not None


def _is_pydantic(cls: type) -> bool:
    return hasattr(cls, "__pydantic_core_schema__") or hasattr(cls, "__get_pydantic_core_schema__")


# -- classes -------------------------------------------------------------------------------------------------


def _fields_of(cls: Any) -> list[Field] | None:
    """The fields of a class, their annotations to follow; None for a class of another kind."""
    if issubclass(cls, msgspec.Struct):
        names, defaults = cls.__struct_fields__, cls.__struct_defaults__
        padded = (NODEFAULT,) * (len(names) - len(defaults)) + defaults
        listed = zip(names, padded, cls.__struct_encode_fields__, strict=True)
        return [Field(name, None, default, None, key) for name, default, key in listed]
    if issubclass(cls, dict) and hasattr(cls, "__required_keys__"):
        hints = hints_of(cls)
        return [
            Field(name, None, NODEFAULT if _is_demanded(cls, name, hints[name]) else UNSET) for name in hints
        ]
    if issubclass(cls, tuple) and hasattr(cls, "_field_defaults"):
        named: Any = cls
        return [Field(name, None, named._field_defaults.get(name, NODEFAULT)) for name in named._fields]
    return _fields_of_dataclass(cls) if is_dataclass(cls) else None


def _is_demanded(cls: Any, name: str, hint: Any) -> bool:
    """Whether a TypedDict demands a key. Its own list is wrong where annotations are postponed."""
    while (origin := get_origin(hint)) is not None:
        word = getattr(origin, "_name", None)
        if word in ("Required", "NotRequired"):
            return bool(word == "Required")
        if origin is not Annotated and word not in _TRANSPARENT:
            break
        hint = get_args(hint)[0]
    return name in cls.__required_keys__


def _fields_of_dataclass(cls: Any) -> list[Field]:
    found = []
    for each in cls.__dataclass_fields__.values():
        if each.init:
            has_none = each.default is MISSING and each.default_factory is MISSING
            default = NODEFAULT if has_none else UNSET if each.default is MISSING else each.default
            words = getattr(each, "doc", None) or each.metadata.get("description")
            found.append(Field(each.name, None, default, words))
    return found


def _default(value: Any) -> Any:
    """A default in JSON; UNSET for what has none there, such as infinity."""
    try:
        made = UNSET if value is UNSET else msgspec.to_builtins(value, str_keys=True)
        dumps(None if made is UNSET else made, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return UNSET
    return made


def _documented(cls: Any) -> Schema:
    """A class's own description: the first paragraph of its docstring, if it has written one."""
    text = cls.__dict__.get("__doc__")
    if not text or text.startswith(f"{cls.__name__}("):
        return {}
    return {"description": " ".join(cleandoc(text).split("\n\n")[0].split())}
