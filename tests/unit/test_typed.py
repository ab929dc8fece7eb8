"""Types to JSON Schema and back: a table of types, with what each accepts and refuses."""

from __future__ import annotations

import enum
import json
import math
import pickle
import re
import subprocess
import sys
import typing
from collections import abc, namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import msgspec
import pytest
import typing_extensions
from annotated_types import DocInfo, Len, Predicate, Timezone, Unit
from msgspec import UNSET, Meta, Struct, UnsetType

from brainwires_provider.types.annotations import label
from brainwires_provider.types.forms import Anything
from brainwires_provider.types.typed import Field, Invalid, Typed, hints_of, typed_fields, typed_of

T = TypeVar("T")
N = TypeVar("N", int, str)
B = TypeVar("B", bound=int)
K = TypeVar("K")
V = TypeVar("V")
UserId = NewType("UserId", int)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    S = 1
    L = 3


@dataclass
class Cat:
    """A cat.

    More about cats.
    """

    name: str
    lives: Annotated[int, Meta(ge=1, description="how many")] = 9


@dataclass
class Dog:
    name: str
    lives: int = field(default=1, metadata={"description": "one"})


@dataclass
class On:
    kind: Literal["on"] = "on"


@dataclass
class Off:
    kind: Literal["off"] = "off"
    type: str = ""


class Node(Struct):
    value: int
    children: list[Node] = []
    next: Node | None = None


class Box(Struct, Generic[T], frozen=True):
    item: T


class IntBox(Box[int], frozen=True):
    label: str = ""


class Renamed(Struct, rename="camel", tag_field="is", tag="renamed"):
    first_name: str
    last: str | UnsetType = UNSET


class Other(Struct, tag_field="is", tag="other"):
    n: int = msgspec.field(default_factory=int)


class Movie(TypedDict, total=False):
    title: Required[str]
    year: Annotated[NotRequired[int], "when it came out"]


class Point(NamedTuple):
    x: float
    y: float = 0.0


@dataclass
class Selfish:
    next: typing.Self | None
    all: list[Annotated[typing.Self, "all of them"]] = field(default_factory=list)


@dataclass
class Checked:
    n: int
    twice: InitVar[int]
    total: int = field(init=False, default=0)
    all: ClassVar[list[int]] = []

    def __post_init__(self, twice: int) -> None:
        if self.n * 2 != twice:
            raise ValueError("twice must be 2 * n")


class Rate(enum.Enum):
    LOW = 0.5
    HIGH = 1.0


@dataclass
class Кот:  # noqa: PLC2401
    имя: str  # noqa: PLC2401


@dataclass
class Пёс:  # noqa: PLC2401
    имя: str  # noqa: PLC2401


class Цвет(enum.Enum):  # noqa: PLC2401
    A = "a"


class Both(Struct):
    кот: Кот | None  # noqa: PLC2401
    коты: list[Кот | Пёс]  # noqa: PLC2401
    цвет: Цвет  # noqa: PLC2401
    цвета: list[Цвет]  # noqa: PLC2401
    ещё: Кот | None = None  # noqa: PLC2401


@dataclass
class Base(Generic[T]):
    items: T
    more: list[T]


@dataclass
class Child(Base[list[T]], Generic[T]):
    one: T


class StructBase(Struct, Generic[T]):
    items: T


class StructChild(StructBase[list[T]], Generic[T]):
    one: T


class Grandchild(StructChild[dict[str, T]], Generic[T]):
    last: T


class Plain(Grandchild[int]):
    extra: str = ""


@dataclass
class Two(Generic[K, V]):
    a: K
    b: V


@dataclass
class Swapped(Two[V, K], Generic[K, V]):
    c: K


class Keyed(TypedDict, Generic[T]):
    a: T


class KeyedChild(Keyed[list[T]], Generic[T]):
    b: T


Untyped = namedtuple("Untyped", "x y", defaults=(1,))


class Extreme(NamedTuple):
    most: float = math.inf
    least: float | None = -math.inf
    none: float = math.nan
    any: Any = math.inf
    listed: tuple[float, ...] = (1.0, math.inf)
    point: Point = Point(1.0)
    animal: Cat | Dog = Dog("Rex")
    wrong: int = "x"  # type: ignore[assignment]
    missing: int = None  # type: ignore[assignment]
    cat: Cat = Cat("Tom")
    numbered: dict[int, str] = {1: "a"}  # noqa: RUF012


@dataclass
class Chain(Generic[T]):
    item: T
    more: list[Chain[T]] = field(default_factory=list)


class OwnDict(dict[str, int]): ...


class OwnTuple(tuple[int, ...]): ...


def json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def obj(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        **more,
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


INT, STR, NULL, NUMBER = {"type": "integer"}, {"type": "string"}, {"type": "null"}, {"type": "number"}
CAT_LIVES = {**INT, "minimum": 1, "description": "how many", "default": 9}
DOG_LIVES = {**INT, "description": "one", "default": 1}
NODE = obj(
    {
        "value": INT,
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
        "next": {"anyOf": [{"$ref": "#/$defs/Node"}, NULL], "default": None},
    },
    "value",
)
CHAIN = obj({"item": INT, "more": {"type": "array", "items": {"$ref": "#/$defs/Chain_int"}}}, "item")


def kind(value: str) -> dict[str, Any]:
    return {"type": "string", "const": value}


ANYTHING = "a string, an integer, a number, true or false, null, an array or an object"
KOT = obj({"имя": STR}, "имя")
SELFISH = obj(
    {
        "next": {"anyOf": [{"$ref": "#/$defs/Selfish"}, NULL]},
        "all": {"type": "array", "items": {"$ref": "#/$defs/Selfish", "description": "all of them"}},
    },
    "next",
)
ANIMALS = [
    obj({"kind": kind("Cat"), "name": STR, "lives": CAT_LIVES}, "kind", "name", description="A cat."),
    obj({"kind": kind("Dog"), "name": STR, "lives": DOG_LIVES}, "kind", "name"),
]


# A type, its schema, (JSON, value) that it accepts, (JSON, problem) that it refuses.
TABLE: tuple[tuple[Any, Any, tuple[tuple[Any, Any], ...], tuple[tuple[Any, str], ...]], ...] = (
    (
        int,
        INT,
        ((5, 5), (5.0, 5)),
        ((True, "must be an integer, not true"), ("5", 'must be an integer, not "5"'), (5.5, "not 5.5")),
    ),
    (float, NUMBER, ((5, 5.0), (1.5, 1.5)), (("x", "must be a number"),)),
    (str, STR, (("a", "a"),), ((5, "must be a string, not 5"),)),
    (bool, {"type": "boolean"}, ((True, True),), ((1, "must be true or false, not 1"),)),
    (None, NULL, ((None, None),), ((0, "must be null, not 0"),)),
    (Any, {}, (([1], [1]),), ()),
    (object, {}, (("x", "x"),), ()),
    (bytes, {**STR, "contentEncoding": "base64"}, (("aGk=", b"hi"),), (("!", "must be bytes in Base64"),)),
    (
        date,
        {**STR, "format": "date"},
        (("2026-01-02", date(2026, 1, 2)),),
        (("soon", "must be a date (RFC 3339)"),),
    ),
    (
        datetime,
        {**STR, "format": "date-time"},
        (("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),),
        ((5, "must be a date and time"),),
    ),
    (time, {**STR, "format": "time"}, (("03:04:05", time(3, 4, 5)),), (("noon", "must be a time"),)),
    (timedelta, {**STR, "format": "duration"}, (("P1D", timedelta(1)),), (("a day", "must be a duration"),)),
    (UUID, {**STR, "format": "uuid"}, ((str(UUID(int=1)), UUID(int=1)),), (("1", "must be a UUID"),)),
    (
        Decimal,
        {**STR, "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
        (("1.50", Decimal("1.50")), (2, Decimal(2))),
        (("much", "must be a decimal number"),),
    ),
    (
        Color,
        {**STR, "enum": ["red", "blue"]},
        (("red", Color.RED),),
        (("RED", 'must be "red" or "blue", not "RED"'), ([], "not []")),
    ),
    (
        Size,
        {**INT, "enum": [1, 3]},
        ((1, Size.S), (3.0, Size.L)),
        ((True, "must be 1 or 3, not true"), (2, "must be 1 or 3")),
    ),
    (
        Rate,
        {**NUMBER, "enum": [0.5, 1.0]},
        ((0.5, Rate.LOW), (1.0, Rate.HIGH), (1, Rate.HIGH)),
        ((True, "must be 0.5 or 1.0, not true"), (2, "must be 0.5 or 1.0")),
    ),
    (Rate | None, {"anyOf": [{**NUMBER, "enum": [0.5, 1.0]}, NULL]}, ((1, Rate.HIGH), (None, None)), ()),
    (Literal[Rate.LOW, Size.L], {"enum": [0.5, 3]}, ((3.0, Size.L), (0.5, Rate.LOW)), ((3.5, "must be"),)),
    (
        Literal["a", 1, None],
        {"enum": ["a", 1, None]},
        (("a", "a"), (1, 1), (None, None)),
        ((True, 'must be "a", 1 or null'),),
    ),
    (int | Size, {"anyOf": [INT, {**INT, "enum": [1, 3]}]}, ((1, Size.S), (2, 2)), ()),
    (
        date | Literal["2026-01-02"],
        {"anyOf": [{**STR, "format": "date"}, kind("2026-01-02")]},
        (("2026-01-02", "2026-01-02"), ("2026-01-03", date(2026, 1, 3))),
        (),
    ),
    (
        Literal["a"] | date | UUID,
        {"anyOf": [kind("a"), {**STR, "format": "date"}, {**STR, "format": "uuid"}]},
        (("a", "a"), ("2026-01-02", date(2026, 1, 2)), (str(UUID(int=1)), UUID(int=1))),
        (("x", 'must be "a", a date (RFC 3339) or a UUID, not "x"'),),
    ),
    (Literal[Color.RED], {**STR, "const": "red"}, (("red", Color.RED),), (("blue", 'must be "red"'),)),
    (UserId, INT, ((7, 7),), (("7", "must be an integer"),)),
    (
        Annotated[int, Meta(gt=0, multiple_of=5)],
        {**INT, "exclusiveMinimum": 0, "multipleOf": 5},
        ((5, 5),),
        ((0, ">= 1"), (7, "multiple of 5")),
    ),
    (
        Annotated[str, Meta(pattern="^a", min_length=2), "a name"],
        {**STR, "minLength": 2, "pattern": "^a", "description": "a name"},
        (("ab", "ab"),),
        (("a", "length >= 2"), ("bb", "^a")),
    ),
    (
        Annotated[datetime, Meta(tz=True)],
        {**STR, "format": "date-time"},
        (),
        (("2026-01-02T03:04:05", "must be a date and time"),),
    ),
    (
        list[int],
        {"type": "array", "items": INT},
        (([1], [1]),),
        (
            (["1", 2, None], '[0]: must be an integer, not "1"\n- [2]: must be an integer, not null'),
            ({}, "must be an array, not {}"),
        ),
    ),
    (
        Annotated[list[str], Meta(min_length=1, max_length=2)],
        {"type": "array", "items": STR, "minItems": 1, "maxItems": 2},
        ((["a"], ["a"]),),
        (([], "must have at least 1 items, not 0"), (["a"] * 3, "must have at most 2 items, not 3")),
    ),
    (Sequence[int], {"type": "array", "items": INT}, (([1], [1]),), ()),
    (list, {"type": "array", "items": {}}, (([1, "a"], [1, "a"]),), ()),
    (tuple[int, ...], {"type": "array", "items": INT}, (([1, 2], (1, 2)),), ()),
    (tuple, {"type": "array", "items": {}}, (([1], (1,)),), ()),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [INT, STR], "minItems": 2, "maxItems": 2},
        (([1, "a"], (1, "a")),),
        (
            ([1], "at least 2"),
            (["a", 1], '[0]: must be an integer, not "a"\n- [1]: must be a string, not 1'),
            (3, "must be an array"),
        ),
    ),
    (tuple[()], {"type": "array", "minItems": 0, "maxItems": 0}, (([], ()),), (([1], "at most 0 items"),)),
    (set[str], {"type": "array", "items": STR}, ((["a", "a"], {"a"}),), ()),
    (
        frozenset[Box[int]],
        {"type": "array", "items": obj({"item": INT}, "item")},
        (([{"item": 1}], frozenset({Box(1)})),),
        (),
    ),
    (
        dict[str, int],
        {"type": "object", "additionalProperties": INT},
        (({"a": 1}, {"a": 1}),),
        (({"a": "1"}, 'a: must be an integer, not "1"'), ([], "must be an object")),
    ),
    (dict, {"type": "object", "additionalProperties": {}}, (({"a": 1}, {"a": 1}),), ()),
    (
        Annotated[Mapping[int, str], Meta(max_length=1)],
        {
            "type": "object",
            "additionalProperties": STR,
            "maxProperties": 1,
            "propertyNames": {"pattern": "^-?[0-9]+$"},
        },
        (({"5": "a"}, {5: "a"}),),
        (({"x": 1, "y": "b"}, "x: as a key must be an integer"), ({"x": "b"}, "as a key")),
    ),
    (
        dict[Color, int],
        {"type": "object", "additionalProperties": INT, "propertyNames": {"enum": ["blue", "red"]}},
        (({"red": 1}, {Color.RED: 1}),),
        (({"green": 1}, 'green: as a key must be "red" or "blue"'),),
    ),
    (
        dict[date, int],
        {"type": "object", "additionalProperties": INT, "propertyNames": {"format": "date"}},
        (({"2026-01-02": 1}, {date(2026, 1, 2): 1}),),
        (),
    ),
    (
        dict[float, int],
        {
            "type": "object",
            "additionalProperties": INT,
            "propertyNames": {"pattern": r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"},
        },
        (({"1.5": 1, "2": 2, "1e3": 3}, {1.5: 1, 2.0: 2, 1000.0: 3}),),
        (({"x": 1}, "x: as a key must be a number"),),
    ),
    (
        dict[bool, int],
        {"type": "object", "additionalProperties": INT, "propertyNames": {"enum": ["false", "true"]}},
        (({"true": 1}, {True: 1}),),
        (({"yes": 1}, "yes: as a key"),),
    ),
    (
        dict[Literal[True, "x", 2], int],
        {"type": "object", "additionalProperties": INT, "propertyNames": {"enum": ["2", "true", "x"]}},
        (({"true": 1, "x": 2, "2": 3}, {True: 1, "x": 2, 2: 3}),),
        (({"yes": 1}, 'yes: as a key must be true, "x" or 2'),),
    ),
    *(
        (
            dict[Literal[key], int],  # type: ignore[valid-type]
            {"type": "object", "additionalProperties": INT, "propertyNames": {"enum": [name]}},
            (({name: 1}, {key: 1}),),
            (({"b": 1}, f"b: as a key must be {json_text(key)}"),),
        )
        for key, name in (("a", "a"), (1, "1"), (True, "true"))
    ),
    (
        dict[int | bool, int],
        {
            "type": "object",
            "additionalProperties": INT,
            "propertyNames": {"anyOf": [{"pattern": "^-?[0-9]+$"}, {"enum": ["false", "true"]}]},
        },
        (({"5": 1}, {5: 1}),),
        (),
    ),
    (
        dict[int | str, int],
        {"type": "object", "additionalProperties": INT},
        (({"x": 1}, {"x": 1}),),
        (),
    ),
    (
        dict[int | None, int],
        {
            "type": "object",
            "additionalProperties": INT,
            "propertyNames": {"anyOf": [{"pattern": "^-?[0-9]+$"}, {"enum": ["null"]}]},
        },
        (({"5": 1, "null": 2}, {5: 1, None: 2}),),
        (({"x": 1}, "x: as a key must be an integer or null"),),
    ),
    (
        Chain[Annotated[int, {"of": "no hash"}]],
        {**CHAIN, "$defs": {"Chain_int": CHAIN}},
        (({"item": 1, "more": [{"item": 2}]}, Chain(1, [Chain(2)])),),
        (({"item": 1, "more": [{"item": "x"}]}, "more[0].item: must be an integer"),),
    ),
    (list[Кот], {"type": "array", "items": KOT}, (([{"имя": "a"}], [Кот("a")]),), ()),
    (
        Кот | Пёс,
        {"anyOf": [obj({"kind": kind(name), "имя": STR}, "kind", "имя") for name in ("Кот", "Пёс")]},
        (({"kind": "Пёс", "имя": "a"}, Пёс("a")),),
        (({"kind": "x"}, 'kind: must be "Кот" or "Пёс"'),),
    ),
    (
        Child[int],
        obj(
            {
                "items": {"type": "array", "items": INT},
                "more": {"type": "array", "items": {"type": "array", "items": INT}},
                "one": INT,
            },
            *("items", "more", "one"),
        ),
        (({"items": [1], "more": [[2]], "one": 3}, Child([1], [[2]], 3)),),
        (({"items": 1, "more": [2], "one": []}, "items: must be an array"),),
    ),
    (
        StructChild[int],
        obj({"items": {"type": "array", "items": INT}, "one": INT}, "items", "one"),
        (({"items": [1], "one": 1}, StructChild([1], 1)),),
        (),
    ),
    (
        Plain,
        obj(
            {
                "items": {"type": "array", "items": {"type": "object", "additionalProperties": INT}},
                "one": {"type": "object", "additionalProperties": INT},
                "last": INT,
                "extra": {**STR, "default": ""},
            },
            *("items", "one", "last"),
        ),
        (({"items": [{"a": 1}], "one": {"b": 2}, "last": 3}, Plain([{"a": 1}], {"b": 2}, 3)),),
        (),
    ),
    (
        Swapped[int, str],
        obj({"a": STR, "b": INT, "c": INT}, "a", "b", "c"),
        (({"a": "x", "b": 1, "c": 2}, Swapped("x", 1, 2)),),
        (),
    ),
    (
        KeyedChild[int],
        obj({"a": {"type": "array", "items": INT}, "b": INT}, "a", "b"),
        (({"a": [1], "b": 1}, {"a": [1], "b": 1}),),
        (),
    ),
    (
        Untyped,
        obj({"x": {}, "y": {"default": 1}}, "x"),
        (({"x": [1]}, Untyped([1])),),
        (({}, f"x: is missing; it must be {ANYTHING}"),),
    ),
    (
        Extreme,
        obj(
            {
                "most": NUMBER,
                "least": {"anyOf": [NUMBER, NULL]},
                "none": NUMBER,
                "any": {},
                "listed": {"type": "array", "items": NUMBER},
                "point": obj({"x": NUMBER, "y": {**NUMBER, "default": 0.0}}, "x"),
                "animal": {"anyOf": ANIMALS},
                "wrong": INT,
                "missing": INT,
                "cat": {
                    **obj({"name": STR, "lives": CAT_LIVES}, "name", description="A cat."),
                    "default": {"name": "Tom", "lives": 9},
                },
                "numbered": {
                    "type": "object",
                    "additionalProperties": STR,
                    "propertyNames": {"pattern": "^-?[0-9]+$"},
                    "default": {"1": "a"},
                },
            }
        ),
        (),
        (({"most": math.inf}, "most: must be a number"),),
    ),
    (
        list[Annotated[int, {"of": "no hash"}]] | None,
        {"anyOf": [{"type": "array", "items": INT}, NULL]},
        (([1], [1]), (None, None)),
        ((["a"], "[0]: must be an integer"),),
    ),
    (
        Annotated[datetime, Timezone(...)],
        {**STR, "format": "date-time"},
        (),
        (("2026-01-02T03:04:05", "must be"),),
    ),
    (
        Annotated[datetime, Timezone(None)],
        {**STR, "format": "date-time"},
        (),
        (("2026-01-02T03:04:05Z", "must be"),),
    ),
    (
        Annotated[str, Len(1, 2), Unit("m")],
        {**STR, "minLength": 1, "maxLength": 2},
        (("a", "a"),),
        (("abc", "length <= 2"),),
    ),
    (
        Selfish,
        {**SELFISH, "$defs": {"Selfish": SELFISH}},
        (({"next": {"next": None, "all": []}}, Selfish(Selfish(None))),),
        (({"next": 1}, "next: must be an object or null"),),
    ),
    (int | None, {"anyOf": [INT, NULL]}, ((5, 5), (None, None)), (("x", "must be an integer or null"),)),
    (
        Annotated[int | None, Meta(ge=1)],
        {"anyOf": [{**INT, "minimum": 1}, NULL]},
        ((None, None),),
        ((0, "must be an integer >= 1, not 0"),),
    ),
    (int | float, {"anyOf": [INT, NUMBER]}, ((5, 5), (1.5, 1.5)), ()),
    (
        str | date,
        {"anyOf": [STR, {**STR, "format": "date"}]},
        (("2026-01-02", date(2026, 1, 2)), ("x", "x")),
        (),
    ),
    (
        list[int] | list[str],
        {"anyOf": [{"type": "array", "items": INT}, {"type": "array", "items": STR}]},
        ((["a"], ["a"]), ([1], [1])),
        (
            ([[]], "[0]: must be an integer, not []"),
            ([1, None], "- [1]: must be an integer, not null"),
            (["a", None], "- [1]: must be a string, not null"),
            (5, "must be an array, not 5"),
        ),
    ),
    (
        Cat,
        obj({"name": STR, "lives": CAT_LIVES}, "name", description="A cat."),
        (({"name": "Tom"}, Cat("Tom")), ({"name": "Tom", "lives": None}, Cat("Tom"))),
        (
            (
                {"lives": 0, "x": 1},
                (
                    "name: is missing; it must be a string\n- lives: must be an integer >= 1, not 0\n"
                    "- x: does not exist; there is name, lives"
                ),
            ),
            ("Tom", "must be an object"),
        ),
    ),
    (
        Checked,
        obj({"n": INT, "twice": INT}, "n", "twice"),
        (),
        (({"n": 1, "twice": 3}, "twice must be 2 * n"),),
    ),
    (
        Node,
        {**NODE, "$defs": {"Node": NODE}},
        (({"value": 1, "children": [{"value": 2}]}, Node(1, [Node(2)])),),
        (
            (
                {"value": 1, "children": [{"value": "2"}, {}]},
                'children[0].value: must be an integer, not "2"\n- children[1].value: is missing',
            ),
        ),
    ),
    (
        Box[str],
        obj({"item": STR}, "item"),
        (({"item": "a"}, Box("a")),),
        (({"item": 1}, "item: must be a string"),),
    ),
    (Box, obj({"item": {}}, "item"), (({"item": 1}, Box(1)),), ()),
    (
        IntBox,
        obj({"item": INT, "label": {**STR, "default": ""}}, "item"),
        (({"item": 1}, IntBox(1)),),
        (({"item": "a"}, "item: must be an integer"),),
    ),
    (
        Renamed,
        obj({"is": kind("renamed"), "firstName": STR, "last": STR}, "is", "firstName"),
        (({"is": "renamed", "firstName": "A"}, Renamed("A")),),
        (
            ({"firstName": "A"}, 'is: is missing; it must be "renamed"'),
            ({"is": "x", "first_name": "A"}, 'is: must be "renamed", not "x"\n- firstName: is missing'),
            (1, "must be an object"),
        ),
    ),
    (
        Renamed | Other,
        {
            "anyOf": [
                obj({"is": kind("renamed"), "firstName": STR, "last": STR}, "is", "firstName"),
                obj({"is": kind("other"), "n": INT}, "is"),
            ]
        },
        (({"is": "other"}, Other()),),
        (({"is": "third"}, 'is: must be "renamed" or "other", not "third"'),),
    ),
    (
        Movie,
        obj({"title": STR, "year": {**INT, "description": "when it came out"}}, "title"),
        (({"title": "M"}, {"title": "M"}),),
        (({"year": 1}, "title: is missing"),),
    ),
    (
        Point,
        obj({"x": NUMBER, "y": {**NUMBER, "default": 0.0}}, "x"),
        (({"x": 1}, Point(1.0)),),
        (([1, 2], "must be an object"),),
    ),
    (
        Cat | Dog,
        {
            "anyOf": [
                obj(
                    {"kind": kind("Cat"), "name": STR, "lives": CAT_LIVES},
                    "kind",
                    "name",
                    description="A cat.",
                ),
                obj({"kind": kind("Dog"), "name": STR, "lives": DOG_LIVES}, "kind", "name"),
            ]
        },
        (({"kind": "Dog", "name": "Rex"}, Dog("Rex")), ({"kind": "Cat", "name": "Tom"}, Cat("Tom"))),
        (
            ({"name": "Tom"}, 'kind: is missing; it must be "Cat" or "Dog"'),
            ({"kind": ["Cat"]}, 'kind: must be "Cat" or "Dog", not ["Cat"]'),
            (1, "must be an object, not 1"),
        ),
    ),
    (
        On | Off | None,
        {
            "anyOf": [
                obj({"kind": {**kind("on"), "default": "on"}}, "kind"),
                obj({"kind": {**kind("off"), "default": "off"}, "type": {**STR, "default": ""}}, "kind"),
                NULL,
            ]
        },
        (({"kind": "off"}, Off()), (None, None)),
        (({"kind": "of"}, 'kind: must be "on" or "off"'),),
    ),
    (
        Cat | dict[str, int],
        {
            "anyOf": [
                obj({"name": STR, "lives": CAT_LIVES}, "name", description="A cat."),
                {"type": "object", "additionalProperties": INT},
            ]
        },
        (({"name": "Tom"}, Cat("Tom")), ({"a": 1}, {"a": 1})),
        (
            ({"a": []}, "a: must be an integer"),
            ({"name": []}, "name: must be a string"),
            ([], "must be an object"),
        ),
    ),
)


@pytest.mark.parametrize("line", TABLE, ids=lambda line: re.sub(r"[^\w\[\]|, .]", "", str(line[0]))[:60])
def test_a_type_has_a_schema_and_converts(line: Any) -> None:
    hint, schema, accepted, refused = line
    typed: Typed[Any] = typed_of(hint)

    assert typed.schema == schema
    for given, value in accepted:
        made = typed.convert(given)
        assert made == value and type(made) is type(value), given
    for given, words in refused:
        with pytest.raises(Invalid) as caught:
            typed.convert(given)
        assert words in str(caught.value), given


@dataclass
class Lost:
    x: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Around:
    inner: list[Lost]


@dataclass
class Misspelt:
    x: math.Missing  # type: ignore[name-defined]


class Halved(TypedDict):
    x: "list["  # type: ignore[syntax]  # noqa: F722


UNSUPPORTED: tuple[tuple[Any, str], ...] = (
    (complex, "complex has no form in JSON; use a tuple of two floats"),
    (list[Path], r"Path has no form in JSON; use str"),
    (re.Pattern, "use str"),
    (Callable[[int], int], r"Callable\[\[int\], int\] has no form in JSON; use a dataclass"),
    (type, "type has no form"),
    (OwnDict, "OwnDict has no form"),
    (OwnTuple, "OwnTuple has no form"),
    (set[list[int]], r"list\[int\] cannot be in a set: use a list"),
    (set[Node], "Node cannot be in a set"),
    (dict[tuple[int, int], int], r"tuple\[int, int\] cannot be a key"),
    (dict[None, int], "None cannot be a key"),
    (Annotated[int, Meta(min_length=1)], "int cannot be limited by min_length"),
    (Literal[b"x"], "b'x' has no form"),
    (enum.Enum("Empty", {}), "Empty has no member"),
    (enum.Enum("Pair", {"A": (1, 2)}), "has no form"),
    (list[Lost], r"list\[.*Lost\]\[\]: the annotations of Lost cannot be resolved .*Nowhere.*module's level"),
    (Around, r"Around\.inner\[\]: the annotations of Lost cannot be resolved"),
    (Misspelt, r"Misspelt: the annotations of Misspelt cannot be resolved .*Missing.*write types"),
    (Halved, r"the annotations of Halved cannot be resolved"),
    (Annotated[datetime, Timezone("Europe/Rome")], r"nobody checks Timezone\(tz='Europe/Rome'\)"),
    (list["Missing"], "'Missing'.* was not resolved"),  # type: ignore[name-defined]  # noqa: F821
    (typing.Sequence["Missing"], "'Missing'.* was not resolved"),  # type: ignore[name-defined]  # noqa: F821
)


@pytest.mark.parametrize(("hint", "words"), UNSUPPORTED, ids=lambda each: str(each)[:40])
def test_a_type_without_a_form_is_named(hint: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        typed_of(hint)


def test_local_classes_refer_to_themselves_and_others_are_named() -> None:
    @dataclass
    class Local:
        next: Local | None = None

    class Unknown: ...

    @dataclass
    class Lost:
        x: Unknown

    @dataclass
    class Outer:
        @dataclass
        class Inner:
            x: int

        inner: Inner
        next: Outer | None = None

    assert typed_of(Local).convert({"next": {}}) == Local(Local())
    assert typed_of(Outer).convert({"inner": {"x": 1}}) == Outer(Outer.Inner(1))
    with pytest.raises(TypeError, match=r"annotations of Lost cannot be resolved.*Unknown"):
        typed_of(Lost)
    assert hints_of(Lost, {"Unknown": int}) == {"x": int}


def test_constraints_that_only_pydantic_checks_are_checked_by_it_or_refused() -> None:
    lower = Annotated[str, Predicate(str.islower)]
    code = """
import sys
from typing import Annotated
from annotated_types import Predicate
from brainwires_provider.types.typed import typed_of
try:
    typed_of(list[Annotated[str, Predicate(str.islower)]])
except TypeError as error:
    print(error, "pydantic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "only Pydantic checks Predicate(str.islower)" in done.stdout and done.stdout.endswith(" False\n")
    assert done.stdout.startswith("list[") and "[]: " in done.stdout

    from pydantic import Field as Limit
    from pydantic import StringConstraints

    money = Annotated[Decimal, Limit(max_digits=3)]
    word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, to_upper=True)]
    plain = Annotated[str, StringConstraints(pattern=re.compile("^a"), min_length=2)]
    assert typed_of(plain).schema == {**STR, "minLength": 2, "pattern": "^a"}
    with pytest.raises(Invalid, match=r"must be a string matching regex '\^a', not \"bb\""):
        typed_of(plain).convert("bb")
    assert typed_of(word | None).convert(" ab ") == "AB"  # type: ignore[arg-type]
    assert typed_of(list[lower]).convert(["a"]) == ["a"]  # type: ignore[valid-type]
    for hint, wrong in ((money, "12.345"), (word, " a "), (lower, "A"), (list[lower], ["A"]), (plain, "b")):  # type: ignore[valid-type]
        with pytest.raises(Invalid):
            typed_of(hint).convert(wrong)


def test_fields_are_converted_together() -> None:
    typed = typed_fields(
        "add",
        [
            Field("n", int),
            Field("m", int, 3, "how many"),
            Field("o", int | None, 3),
            Field("x", Any, object(), key="y"),
        ],
        coerce=True,
    )

    assert typed.schema == obj(
        {
            "n": INT,
            "m": {**INT, "description": "how many", "default": 3},
            "o": {"anyOf": [INT, NULL], "default": 3},
            "y": {},
        },
        "n",
    )
    assert typed.convert({"n": "5", "m": None, "o": None, "y": 1}) == {"n": 5, "o": None, "x": 1}
    assert typed.convert({"n": 5.0}) == {"n": 5}
    with pytest.raises(Invalid) as caught:
        typed.convert({"m": True, "q": 1, "o": []})
    assert [each.path for each in caught.value.problems] == ["n", "m", "o", "q"]
    with pytest.raises(TypeError, match=r"add\.f: Path"):
        typed_fields("add", [Field("f", Path)], coerce=False)


def test_what_a_field_accepts_is_said_in_words() -> None:
    words = {
        int | None: "an integer or null",
        float | None: "a number or null",
        bool | None: "true or false or null",
        list[int] | None: "an array or null",
        dict[str, int] | None: "an object or null",
        int | list[str]: "an integer or an array",
    }
    for hint, accepted in words.items():
        with pytest.raises(Invalid, match=f'must be {accepted}, not "x"'):
            typed_of(hint).convert("x")
    with pytest.raises(Invalid, match=r"must be a number or a string, not \[\]"):
        typed_of(float | str).convert([])


def test_coercion_takes_texts_that_say_a_value() -> None:
    assert typed_of(int, coerce=True).convert("5") == 5
    assert typed_of(bool, coerce=True).convert("true") is True
    assert typed_of(Size, coerce=True).convert("3") is Size.L
    assert typed_of(int | str, coerce=True).convert("5") == "5"
    for given in ("true", "True", "1", 1, True):
        assert typed_of(bool, coerce=True).convert(given) is True
        assert typed_of(Literal[True], coerce=True).convert(given) is True
    literal: Typed[Any] = typed_of(Literal[None, 1], coerce=True)
    assert [literal.convert(given) for given in ("null", "Null", None, "1", 1.0)] == [None, None, None, 1, 1]
    for wrong in ("yes", "", "2"):
        with pytest.raises(Invalid):
            literal.convert(wrong)
    for wrong in (True, None, "five"):
        with pytest.raises(Invalid):
            typed_of(int, coerce=True).convert(wrong)


@pytest.mark.parametrize("coerce", [False, True])
def test_a_number_is_finite(coerce: bool) -> None:
    for hint, given in (
        (float, json.loads("1e400")),
        (float | str, float("-inf")),
        (float, "nan"),
        (float, "inf"),
        (Decimal, "NaN"),
        (Decimal, "-Infinity"),
    ):
        with pytest.raises(Invalid, match=r"must be a number|must be a decimal"):
            typed_of(hint, coerce=coerce).convert(given)


class Frail(msgspec.Struct):
    error: str

    def __post_init__(self) -> None:
        raise RAISED[self.error]


@dataclass
class Frailer:
    error: str

    def __post_init__(self) -> None:
        raise RAISED[self.error]


class Unhashable(msgspec.Struct, frozen=True):
    x: list[int]


RAISED = {
    each.__class__.__name__: each
    for each in (
        AssertionError("x must be positive"),
        ValueError("x must be positive"),
        ZeroDivisionError("1/0 for hunter2"),
        KeyError("hunter2"),
        OSError("hunter2"),
        RecursionError("hunter2"),
        NotImplementedError(),
    )
}


@pytest.mark.parametrize("hint", [Frail, Frailer])
@pytest.mark.parametrize("name", RAISED)
def test_what_a_types_own_checks_raise_is_a_problem(hint: type[Any], name: str) -> None:
    """The text of an exception that is no check's may hold secrets, and goes to no model."""
    words = "x must be positive" if "positive" in str(RAISED[name]) else f"is refused by {hint.__name__}"
    with pytest.raises(Invalid) as caught:
        typed_of(list[hint]).convert([{"error": name}])  # type: ignore[valid-type]
    assert str(caught.value.problems[0]) == f"[0]: {words}"


def test_what_is_no_json_is_shown_too() -> None:
    with pytest.raises(Invalid, match=r"must be an integer, not '\\ud800'"):
        typed_of(int).convert("\ud800")
    with pytest.raises(Invalid, match='must be an integer, not "<object object at'):
        typed_of(int).convert(object())


def test_what_a_collection_refuses_is_a_problem() -> None:
    with pytest.raises(Invalid, match="unhashable"):
        typed_of(set[Unhashable]).convert([{"x": [1]}])


def test_a_type_is_derived_once() -> None:
    assert typed_of(Cat) is typed_of(Cat)
    noted = Annotated[int, Meta(extra_json_schema={"x": []})]
    assert typed_of(noted).schema == {**INT, "x": []}
    assert typed_of(Annotated[int, ["not hashable"]]).schema == INT


# -- the rest of the kinds -----------------------------------------------------------------------------------


class Twice(Struct):
    left: Cat | Dog | None
    right: Cat | Dog | None = None
    more: Annotated[Cat | None, "another"] = None


class Constrained(Struct, Generic[N, B]):
    n: N
    b: B


class Open(TypedDict):
    a: typing_extensions.ReadOnly[Annotated[int, "read only"]]
    b: list[int]
    c: typing_extensions.ReadOnly[NotRequired[int]]
    d: tuple[()]


class Loose(TypedDict, total=False):
    a: Required[int]
    b: typing_extensions.ReadOnly[Required[int]]
    c: NotRequired[int]
    d: typing_extensions.ReadOnly[int]


@dataclass
class Fixed:
    a: Final[int]
    b: Final[Annotated[int, Meta(gt=0)]] = 1


class Up(TypedDict):
    side: Literal["x"]
    way: Literal["up"]


class Down(TypedDict):
    side: Literal["x"]
    way: Literal["down"]


Upward: Any = typing_extensions.TypeAliasType("Upward", Up)


def test_typed_dicts_demand_what_their_annotations_say() -> None:
    assert typed_of(Open).schema["required"] == ["a", "b", "d"]
    assert typed_of(Open).convert({"a": 1, "b": [], "d": []}) == {"a": 1, "b": [], "d": ()}
    assert typed_of(Loose).schema["required"] == ["a", "b"]
    assert typed_of(Loose).schema["properties"] == {key: {"type": "integer"} for key in "abcd"}


def test_a_typed_dict_of_a_function_that_refers_to_itself_demands_what_its_annotations_say() -> None:
    class Branch(TypedDict, total=False):
        name: Required[str]
        branches: list[Branch]

    assert typed_of(Branch).convert({"name": "a", "branches": [{"name": "b"}]})["branches"] == [{"name": "b"}]
    with pytest.raises(Invalid, match="name"):
        typed_of(Branch).convert({"branches": []})


def test_what_is_final_is_of_its_type() -> None:
    assert typed_of(Fixed).schema["properties"]["a"] == {"type": "integer"}
    assert typed_of(Fixed).convert({"a": 2, "b": 3}) == Fixed(2, 3)
    with pytest.raises(Invalid, match="b: must be"):
        typed_of(Fixed).convert({"a": 2, "b": 0})


def test_unions_are_decided_by_a_member_that_differs() -> None:
    typed: Typed[Any] = typed_of(Upward | Down)
    assert typed.convert({"side": "x", "way": "down"}) == {"side": "x", "way": "down"}
    with pytest.raises(Invalid, match='way: must be "up" or "down"'):
        typed.convert({"side": "x", "way": "left"})
    with pytest.raises(Invalid, match="must be an object or an integer"):
        typed_of(Upward | int).convert("x")


def test_the_member_that_tells_the_objects_of_a_union_apart_is_none_of_theirs() -> None:
    def of(*names: str) -> Any:
        return make_dataclass("Thing_" + "_".join(names), [(name, int) for name in names])

    for first, second, added in (
        (of("a"), of("b"), "kind"),
        (of("kind"), of("b"), "type"),
        (of("a"), of("type", "kind"), "kind_1"),
        (of("kind", "type"), of("kind_1", "kind_3"), "kind_2"),
    ):
        branches = typed_of(first | second).schema["anyOf"]
        assert [next(iter(branch["properties"])) for branch in branches] == [added, added]


class Late:
    """What `type Json = …` makes from Python 3.12 on: its value is evaluated when it is asked for."""

    __name__ = "Json"

    @property
    def __value__(self) -> Any:
        return dict[str, JSON] | list[JSON] | int  # type: ignore[valid-type]


JSON: Any = Late()
Pairs: Any = typing_extensions.TypeAliasType("Pairs", list[tuple[T, T]], type_params=(T,))


def test_aliases_may_refer_to_themselves() -> None:
    typed: Typed[Any] = typed_of(JSON)
    assert typed.convert({"a": [1, {"b": 2}]}) == {"a": [1, {"b": 2}]}
    with pytest.raises(Invalid, match="must be"):
        typed.convert({"a": ["x"]})
    assert typed.schema["anyOf"][1]["items"] == {"$ref": "#/$defs/Json"}
    assert typed_of(Annotated[JSON, "any JSON"]).schema["description"] == "any JSON"
    assert typed_of(Pairs[int]).convert([[1, 2]]) == [(1, 2)]
    assert typed_of(Pairs[int] | None).convert(None) is None


def test_variables_stand_for_their_bounds() -> None:
    made = typed_of(Constrained).convert({"n": "x", "b": 5})
    assert made == Constrained("x", 5)
    with pytest.raises(Invalid):
        typed_of(Constrained).convert({"n": 1.5, "b": "x"})


def test_names_without_ascii_letters_are_distinct_names() -> None:
    """Services take ASCII names only, for schemas and their definitions."""
    schema = typed_of(Both).schema
    assert list(schema["$defs"]) and all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in schema["$defs"])
    assert "" not in schema["$defs"] and typed_of(Кот).name == typed_of(Цвет).name == "answer"
    assert typed_of(list[Кот]).name == "list"
    assert [each["type"] for each in schema["$defs"].values()] == ["object", "string"]
    made = typed_of(Both).convert(
        {"кот": {"имя": "a"}, "коты": [{"kind": "Пёс", "имя": "b"}], "цвет": "a", "цвета": ["a"]}
    )
    assert made == Both(Кот("a"), [Пёс("b")], Цвет.A, [Цвет.A])


# By JSON Schema's keywords: a limit, its keyword, and a value that it refuses of each kind of type.
KEYWORDS: dict[str, tuple[Any, str]] = {
    "gt": (5, "exclusiveMinimum"),
    "ge": (5, "minimum"),
    "lt": (5, "exclusiveMaximum"),
    "le": (5, "maximum"),
    "multiple_of": (5, "multipleOf"),
    "min_length": (2, "minLength"),
    "max_length": (2, "maxLength"),
    "pattern": ("^a$", "pattern"),
}
NUMBERS = {"gt": 5, "ge": 4, "lt": 5, "le": 6, "multiple_of": 7}
TEXTS = {"min_length": "x", "max_length": "xxx", "pattern": "b"}
ITEMS = {"min_length": [1], "max_length": [1, 2, 3]}
MEMBERS = {"min_length": {"a": 1}, "max_length": {"a": 1, "b": 2, "c": 3}}
LIMITED: tuple[tuple[Any, dict[str, Any], str], ...] = (
    (int, NUMBERS, ""),
    (float, NUMBERS, ""),
    (str, TEXTS, ""),
    (bytes, {"min_length": "YQ==", "max_length": "YWJj"}, ""),
    *((kind[int], ITEMS, "Items") for kind in (list, set, frozenset, Sequence)),  # type: ignore[index]
    (tuple[int, ...], ITEMS, "Items"),
    (dict[str, int], MEMBERS, "Properties"),
    (Mapping[str, int], MEMBERS, "Properties"),
    *((kind, {}, "") for kind in (bool, None, date, datetime, time, timedelta, UUID, Decimal, Color, Cat)),
    (tuple[int, int], {}, ""),
    (Literal["a"], {}, ""),
)


@pytest.mark.parametrize(("hint", "refused", "unit"), LIMITED, ids=lambda each: str(each)[:30])
def test_every_limit_is_checked_and_in_the_schema_or_refused(
    hint: Any, refused: dict[str, Any], unit: str
) -> None:
    for name, (limit, keyword) in KEYWORDS.items():
        limited = Annotated[hint, Meta(**{name: limit})]
        if name not in refused:
            with pytest.raises(TypeError, match=f"cannot be limited by {name}"):
                typed_of(limited)
            continue
        word = keyword.replace("Length", unit) if unit else keyword
        assert typed_of(limited).schema == {**typed_of(hint).schema, word: limit}
        with pytest.raises(Invalid):
            typed_of(limited).convert(refused[name])
        typed_of(hint).convert(refused[name])
    for zone in (datetime, time):
        for tz, given in ((True, "T03:04:05"), (False, "T03:04:05Z")):
            text = f"2026-01-02{given}" if zone is datetime else given[1:]
            typed_of(zone).convert(text)
            with pytest.raises(Invalid):
                typed_of(Annotated[zone, Meta(tz=tz)]).convert(text)  # type: ignore[valid-type]


# What arrays and objects are kept as, by the standard library's abstract classes.
KEPT: tuple[tuple[tuple[Any, ...], Any], ...] = (
    ((list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), [1, 2]),
    ((set, abc.Set, abc.MutableSet), {1, 2}),
    ((frozenset,), frozenset({1, 2})),
    ((dict, abc.Mapping, abc.MutableMapping), {"a": 1}),
    ((tuple,), (1, 2)),
)


def test_every_kind_of_collection_is_kept_as_its_own() -> None:
    for kinds, value in KEPT:
        for kind in kinds:
            given = value if isinstance(value, dict) else [1, 2]
            args = (str, int) if isinstance(value, dict) else (int, ...) if kind is tuple else (int,)
            for hint in (kind, kind[args]):
                made = typed_of(hint).convert(given)
                assert made == value and type(made) is type(value), hint
            wrong: Any = {"a": "x"} if isinstance(value, dict) else ["x"]
            with pytest.raises(Invalid):
                typed_of(kind[args]).convert(wrong)
            words = "object" if isinstance(value, dict) else "array"
            assert typed_of(kind).schema["type"] == words
            with pytest.raises(Invalid, match=f"must be an {words}, not 5"):
                typed_of(kind).convert(5)


class FreeStruct(Struct, eq=False): ...


class EqualStruct(Struct): ...


@dataclass(frozen=True)
class FrozenData: ...


@dataclass(eq=False)
class FreeData: ...


@pytest.mark.parametrize(
    ("hint", "is_hashable"),
    [
        *(
            (hint, True)
            for hint in (str, None, date, FrozenData, FreeData, Color, Box[int], FreeStruct, tuple[int, ...])
        ),
        *((hint, True) for hint in (Annotated[int, "a"], UserId, Literal["a"], int | str, frozenset[int])),
        *(
            (hint, False)
            for hint in (Cat, EqualStruct, Node, Annotated[list[int], "a"], dict[str, int], set[int])
        ),
    ],
)
def test_what_has_no_hash_cannot_be_in_a_set(hint: Any, is_hashable: bool) -> None:
    for kind in (set, frozenset, abc.Set):
        typed_of(list[hint])
        if is_hashable:
            assert typed_of(kind[hint]).convert([]) == set()
        else:
            with pytest.raises(TypeError, match="cannot be in a set: use a list, or make it frozen"):
                typed_of(kind[hint])


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (int, "int"),
        (None, "NoneType"),
        (Cat, "Cat"),
        (UserId, "int"),
        (Annotated[Cat, "a"], "Cat"),
        (list[Cat], "list_Cat"),
        (Box[list[int]], "Box_list_int"),
        (dict[str, int | None], "dict_str_answer"),
        (int | None, "answer"),
        (Literal["a"], "answer"),
        (tuple[int, ...], "tuple_int_answer"),
        (Pairs[int], "Pairs_int"),
        (enum.Enum("_A B_", {"X": 1}), "A_B"),
        (type("x" * 70, (Cat,), {}), "x" * 64),
    ],
)
def test_a_type_has_a_name_that_services_take(hint: Any, name: str) -> None:
    assert label(hint) == name == typed_of(hint).name


def test_alternatives_of_one_name_are_told_apart() -> None:
    @dataclass
    class Cat:
        paws: int

    typed: Typed[Any] = typed_of(globals()["Cat"] | Cat | Dog)
    kinds = [each["properties"]["kind"]["const"] for each in typed.schema["anyOf"]]
    assert kinds == ["Cat", "Cat_", "Dog"]
    assert typed.convert({"kind": "Cat_", "paws": 4}) == Cat(4)


class Spoken(Struct):
    """What is said,
    in two lines.

    And more.
    """  # noqa: D205

    a: int = 0


@dataclass
class Inherits(Cat): ...


@dataclass
class Undocumented:
    a: int


@dataclass
class Fielded:
    a: int = field(default=1, metadata={"description": "one"})
    b: list[int] = field(default_factory=list)
    c: Annotated[int, "of the hint"] = field(default=3, metadata={"description": "three"})
    d: int = field(default=4, init=False)


def test_descriptions_are_the_types_own() -> None:
    assert typed_of(Spoken).schema["description"] == "What is said, in two lines."
    assert "description" not in typed_of(Inherits).schema
    assert "description" not in typed_of(Undocumented).schema
    assert typed_of(Fielded).schema["properties"] == {
        "a": {**INT, "description": "one", "default": 1},
        "b": {"type": "array", "items": INT},
        "c": {**INT, "description": "of the hint", "default": 3},
    }
    noted = Annotated[
        int, Meta(title="T", description="D", examples=[1], extra_json_schema={"x": 2, "title": "U"})
    ]
    assert typed_of(noted).schema == {**INT, "title": "U", "description": "D", "examples": [1], "x": 2}
    assert typed_of(Annotated[int, Meta(title="T")]).schema == {**INT, "title": "T"}


def test_notes_limit_nothing_and_need_no_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)
    own: Any = type("DocInfo", (), {"__module__": "annotated_types"})()  # as it is without typing_extensions
    own.documentation = "of a module"
    noted = Annotated[int, Unit("m"), DocInfo("of a module"), own, 5, "last"]
    assert typed_of(noted).schema == {**INT, "description": "last"}
    with pytest.raises(
        TypeError, match=r"only Pydantic checks Predicate\(.*import pydantic, or leave it out"
    ):
        typed_of(Annotated[str, Predicate(str.istitle)])


def test_problems_can_be_pickled_and_depth_is_one() -> None:
    with pytest.raises(Invalid) as caught:
        typed_of(int).convert("x")
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems
    deep: Any = {"value": 1}
    for _ in range(5000):
        deep = {"value": 1, "next": deep}
    with pytest.raises(Invalid, match="nested too deeply"):
        typed_of(Node).convert(deep)


def test_what_occurs_twice_is_defined_once() -> None:
    schema = typed_of(Twice).schema
    assert set(schema["$defs"]) == {"Cat", "Dog"}
    assert schema["properties"]["left"] == {
        "anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}, NULL],
    }
    assert schema["properties"]["more"]["description"] == "another"
    made = typed_of(Twice).convert({"left": {"kind": "Cat", "name": "Tom"}})
    assert made == Twice(Cat("Tom"))


def test_what_is_no_object_has_no_members() -> None:
    assert Anything().keys is None and Anything().fixed == {}


class Numbered(TypedDict, Generic[T]):
    value: T
    place: T


class Worded(Numbered[int]):
    value: str  # type: ignore[misc]


def test_a_member_that_a_subclass_writes_anew_is_of_the_new_type() -> None:
    typed = typed_of(Worded)
    assert typed.schema["properties"] == {"value": {"type": "string"}, "place": {"type": "integer"}}


def test_what_is_annotated_with_something_without_a_hash_is_told_apart() -> None:
    first, second = list[Annotated[int, {"a": 1}]] | None, list[Annotated[str, {"b": 1}]] | None
    schema = typed_of(tuple[first, first, second]).schema  # type: ignore[valid-type]
    kinds = [item["anyOf"][0]["items"]["type"] for item in schema["prefixItems"]]
    assert kinds == ["integer", "integer", "string"]


def test_coercion_takes_no_boolean_for_a_number() -> None:
    with pytest.raises(Invalid, match="must be 1 or 2"):
        typed_of(Literal[1, 2], coerce=True).convert(True)
