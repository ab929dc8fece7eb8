"""Tools of functions: what a model is asked for, what is taken of its arguments, and what is refused in what words."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from functools import cache, partial, singledispatch, wraps
from types import MethodType
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec
import pytest

from brainwires_provider import (
    Client,
    FunctionTool,
    HostedTool,
    Tool,
    ToolArgumentsError,
    ToolCallPart,
    ToolContext,
    tool,
)
from brainwires_provider.types.docstrings import read_docstring
from brainwires_provider.types.signatures import is_method
from brainwires_provider.types.tools import as_tools, free_name

T = TypeVar("T")
NO_MORE = {"type": "object", "additionalProperties": False}


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Size(msgspec.Struct):
    width: float
    unit: Literal["cm", "in"] = "cm"


class Person(TypedDict):
    name: str
    age: NotRequired[int]


class Optional(TypedDict, total=False):
    a: int


class Pair(NamedTuple):
    first: str
    second: int = 1


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Tree:
    value: int
    below: list[Tree] = field(default_factory=list)


@dataclass
class Even:
    n: int

    def __post_init__(self) -> None:
        if self.n % 2:
            raise ValueError("n must be even")


@dataclass
class Lost:
    y: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Around:
    lost: Lost


class MyContext(ToolContext[str]):
    pass


class Adder:
    """Adds."""

    def __init__(self, by: int) -> None:
        self.by = by

    def plus(self, n: int) -> int:
        """Add to n."""
        return n + self.by

    def __call__(self, n: int) -> int:
        return n + self.by

    @tool
    def tooled(self, n: int) -> int:
        """Add, as a tool."""
        return n + self.by

    @classmethod
    def of_class(cls, n: int) -> str:
        return f"{cls.__name__} {n}"

    @classmethod
    @tool
    def tooled_class(cls, n: int) -> str:
        return f"{cls.__name__} {n}"

    @staticmethod
    @tool
    def static(n: int) -> int:
        return n


def traced(f: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(f)
    def around(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    return around


# -- the signatures ------------------------------------------------------------------------------------------


def nothing() -> str:
    return "done"


def text(s: str) -> str:
    return s


def number(n: int) -> int:
    return n


def real(x: float) -> float:
    return x


def flag(on: bool) -> bool:
    return on


def defaulted(n: int = 3) -> int:
    return n


def nullable(n: int | None = 3) -> int | None:
    return n


def demanded_null(n: int | None) -> int | None:
    return n


def word(unit: Literal["C", "F"]) -> str:
    return unit


def numbers_or_words(level: Literal[1, 2, "max"]) -> Any:
    return level


def colour(c: Colour) -> Colour:
    return c


def several(names: list[str]) -> list[str]:
    return names


def nested(rows: list[list[int]]) -> list[list[int]]:
    return rows


def distinct(tags: set[str]) -> list[str]:
    return sorted(tags)


def two(at: tuple[int, str]) -> tuple[int, str]:
    return at


def table(counts: dict[str, int]) -> dict[str, int]:
    return counts


def mapping(counts: Mapping[str, float], names: Sequence[str] = ()) -> Any:
    return dict(counts), list(names)


def either(v: int | str) -> int | str:
    return v


def point(p: Point) -> Point:
    return p


def size(s: Size) -> Size:
    return s


def person(p: Person) -> Person:
    return p


def pair(p: Pair) -> Pair:
    return p


def box(b: Box[int]) -> Box[int]:
    return b


def tree(t: Tree) -> int:
    return t.value + sum(map(tree, t.below))


def points(ps: list[Point]) -> int:
    return sum(p.x for p in ps)


def maybe_point(p: Point | None = None) -> Point | None:
    return p


def day(d: date) -> date:
    return d


def identity(u: UUID) -> UUID:
    return u


def anything(v: Any) -> Any:
    return v


def limited(n: Annotated[int, msgspec.Meta(ge=1, le=5)]) -> int:
    return n


def described(city: Annotated[str, "The city's name"]) -> str:
    return city


def even(e: Even) -> int:
    return e.n


def rest(first: str, *more: int) -> Any:
    return first, more


def keywords(first: str, **more: float) -> Any:
    return first, more


def unpacked(first: str, **more: Unpack[Person]) -> Any:
    return first, more


def unpacked_optional(**more: Unpack[Optional]) -> Any:
    return more


def unpacked_tuple(*more: Unpack[tuple[int, str]]) -> Any:  # noqa: UP044
    return more


def starred_tuple(first: str, *more: *tuple[int, ...]) -> Any:
    return first, more


def only_positional(a: int, b: int = 2, /) -> Any:
    return a, b


def only_keyword(*, a: int, b: int = 2) -> Any:
    return a, b


def in_context(ctx: ToolContext[str], n: int) -> Any:
    return ctx.deps, n


def context_last(n: int, *, ctx: ToolContext[str] | None = None) -> Any:
    return ctx and ctx.step, n


def own_context(n: int, ctx: MyContext) -> Any:
    return type(ctx).__name__, ctx.call.name, n


async def awaited(n: int) -> int:
    return n


@traced
def decorated(n: int) -> int:
    return n


def properties(**schemas: Any) -> dict[str, Any]:
    return schemas


INT, STR = {"type": "integer"}, {"type": "string"}
POINT = {
    "type": "object",
    "properties": {"x": INT, "y": {"type": "integer", "default": 0}},
    "required": ["x"],
    "additionalProperties": False,
}


class Case(NamedTuple):
    function: Callable[..., Any]
    properties: dict[str, Any] | None
    """None: not compared."""
    required: list[str]
    taken: list[tuple[str, Any]]
    """Arguments, and what the function then returns."""
    refused: list[tuple[str, list[str]]]
    """Arguments, and what the error for the model says."""


CASES = [
    Case(
        nothing,
        {},
        [],
        [("{}", "done"), ("", "done")],
        [('{"a":1}', ["a: does not exist"]), ("[1]", ["JSON object"])],
    ),
    Case(
        text,
        {"s": STR},
        ["s"],
        [('{"s":"x"}', "x")],
        [('{"s":1}', ["s: must be a string, not 1"]), ("{}", ["s: is missing"])],
    ),
    Case(
        number,
        {"n": INT},
        ["n"],
        [('{"n":5}', 5), ('{"n":5.0}', 5)],
        [('{"n":true}', ["n: must be an integer"]), ('{"n":null}', ["not null"]), ('{"n":"5"}', ['not "5"'])],
    ),
    Case(
        real,
        {"x": {"type": "number"}},
        ["x"],
        [('{"x":1}', 1.0), ('{"x":0.5}', 0.5)],
        [('{"x":"1"}', ["x: must be a number"])],
    ),
    Case(
        flag,
        {"on": {"type": "boolean"}},
        ["on"],
        [('{"on":true}', True)],
        [('{"on":1}', ["on: must be true or false"])],
    ),
    Case(
        defaulted,
        {"n": {"type": "integer", "default": 3}},
        [],
        [("{}", 3), ('{"n":null}', 3), ('{"n":4}', 4)],
        [('{"n":"x"}', ["n: must be an integer"])],
    ),
    Case(
        nullable, None, [], [("{}", 3), ('{"n":null}', None), ('{"n":4}', 4)], [('{"n":"x"}', ["n: must be"])]
    ),
    Case(demanded_null, None, ["n"], [('{"n":null}', None)], [("{}", ["n: is missing"])]),
    Case(
        word,
        {"unit": {"type": "string", "enum": ["C", "F"]}},
        ["unit"],
        [('{"unit":"F"}', "F")],
        [('{"unit":"K"}', ['"C" or "F"'])],
    ),
    Case(
        numbers_or_words,
        None,
        ["level"],
        [('{"level":2}', 2), ('{"level":"max"}', "max")],
        [('{"level":3}', ["level"])],
    ),
    Case(
        colour,
        {"c": {"type": "string", "enum": ["red", "blue"]}},
        ["c"],
        [('{"c":"red"}', Colour.RED)],
        [('{"c":"RED"}', ['"red" or "blue"'])],
    ),
    Case(
        several,
        {"names": {"type": "array", "items": STR}},
        ["names"],
        [('{"names":["a"]}', ["a"])],
        [('{"names":["a",1,2]}', ["names[1]", "names[2]"])],
    ),
    Case(
        nested, None, ["rows"], [('{"rows":[[1],[]]}', [[1], []])], [('{"rows":[[1,"x"]]}', ["rows[0][1]"])]
    ),
    Case(
        distinct,
        None,
        ["tags"],
        [('{"tags":["b","a"]}', ["a", "b"])],
        [('{"tags":"a"}', ["tags: must be an array"])],
    ),
    Case(two, None, ["at"], [('{"at":[1,"x"]}', (1, "x"))], [('{"at":[1]}', ["at"])]),
    Case(
        table,
        {"counts": {"type": "object", "additionalProperties": INT}},
        ["counts"],
        [('{"counts":{"a":1}}', {"a": 1})],
        [('{"counts":{"a":"x"}}', ["counts"])],
    ),
    Case(
        mapping,
        None,
        ["counts"],
        [('{"counts":{"a":1}}', ({"a": 1.0}, [])), ('{"counts":{},"names":["x"]}', ({}, ["x"]))],
        [('{"counts":[]}', ["counts: must be an object"])],
    ),
    Case(either, None, ["v"], [('{"v":1}', 1), ('{"v":"1"}', "1")], [('{"v":true}', ["v: must be"])]),
    Case(
        point,
        {"p": POINT},
        ["p"],
        [('{"p":{"x":1}}', Point(1)), ('{"p":{"x":1,"y":2}}', Point(1, 2))],
        [('{"p":{"x":"a","y":"b"}}', ["p.x: must be", "p.y: must be"])],
    ),
    Case(
        size, None, ["s"], [('{"s":{"width":1}}', Size(1.0))], [('{"s":{"width":1,"unit":"m"}}', ["s.unit"])]
    ),
    Case(
        person,
        None,
        ["p"],
        [('{"p":{"name":"Ada"}}', {"name": "Ada"})],
        [('{"p":{"age":3}}', ["p.name: is missing"])],
    ),
    Case(pair, None, ["p"], [('{"p":{"first":"a"}}', Pair("a"))], [('{"p":{"second":1}}', ["p.first"])]),
    Case(
        box,
        None,
        ["b"],
        [('{"b":{"content":1}}', Box(1))],
        [('{"b":{"content":"x"}}', ["b.content: must be an integer"])],
    ),
    Case(
        tree,
        None,
        ["t"],
        [('{"t":{"value":1,"below":[{"value":2}]}}', 3)],
        [('{"t":{"value":1,"below":[{}]}}', ["t.below[0].value"])],
    ),
    Case(
        points,
        None,
        ["ps"],
        [('{"ps":[{"x":1},{"x":2}]}', 3)],
        [('{"ps":[{"x":1},{"y":2}]}', ["ps[1].x: is missing"])],
    ),
    Case(
        maybe_point,
        None,
        [],
        [("{}", None), ('{"p":null}', None), ('{"p":{"x":1}}', Point(1))],
        [('{"p":1}', ["p: must be"])],
    ),
    Case(
        day,
        {"d": {"type": "string", "format": "date"}},
        ["d"],
        [('{"d":"2026-11-29"}', date(2026, 11, 29))],
        [('{"d":"today"}', ["d"])],
    ),
    Case(
        identity,
        None,
        ["u"],
        [('{"u":"00000000-0000-0000-0000-000000000001"}', UUID(int=1))],
        [('{"u":"1"}', ["u"])],
    ),
    Case(
        anything, {"v": {}}, ["v"], [('{"v":[1,{"a":null}]}', [1, {"a": None}])], [("{}", ["v: is missing"])]
    ),
    Case(
        limited,
        {"n": {"type": "integer", "minimum": 1, "maximum": 5}},
        ["n"],
        [('{"n":5}', 5)],
        [('{"n":6}', ["n"])],
    ),
    Case(
        described,
        {"city": {"type": "string", "description": "The city's name"}},
        ["city"],
        [('{"city":"Rome"}', "Rome")],
        [('{"city":[]}', ["city"])],
    ),
    Case(even, None, ["e"], [('{"e":{"n":2}}', 2)], [('{"e":{"n":3}}', ["n must be even"])]),
    Case(
        rest,
        {"first": STR, "more": {"type": "array", "items": INT}},
        ["first"],
        [('{"first":"a"}', ("a", ())), ('{"first":"a","more":[1,2]}', ("a", (1, 2)))],
        [('{"first":"a","more":["x"]}', ["more[0]"])],
    ),
    Case(
        keywords,
        None,
        ["first"],
        [('{"first":"a"}', ("a", {})), ('{"first":"a","more":{"b":1}}', ("a", {"b": 1.0}))],
        [('{"first":"a","b":1}', ["b: does not exist"])],
    ),
    Case(
        unpacked,
        {
            "first": STR,
            "more": {
                "type": "object",
                "properties": {"name": STR, "age": INT},
                "required": ["name"],
                "additionalProperties": False,
            },
        },
        ["first", "more"],
        [('{"first":"a","more":{"name":"b"}}', ("a", {"name": "b"}))],
        [
            ('{"first":"a","more":{}}', ["more.name: is missing"]),
            ('{"first":"a","more":{"name":"b","first":"c"}}', ["more.first: is not allowed here"]),
        ],
    ),
    Case(
        unpacked_optional,
        None,
        [],
        [("{}", {}), ('{"more":{"a":1}}', {"a": 1})],
        [('{"more":{"b":1}}', ["b"])],
    ),
    Case(
        unpacked_tuple,
        {"more": {"type": "array", "prefixItems": [INT, STR], "minItems": 2, "maxItems": 2}},
        ["more"],
        [('{"more":[1,"a"]}', (1, "a"))],
        [('{"more":[1]}', ["more: must have at least 2"])],
    ),
    Case(
        starred_tuple,
        {"first": STR, "more": {"type": "array", "items": INT}},
        ["first"],
        [('{"first":"a"}', ("a", ())), ('{"first":"a","more":[1]}', ("a", (1,)))],
        [('{"first":"a","more":["x"]}', ["more[0]"])],
    ),
    Case(
        only_positional,
        None,
        ["a"],
        [('{"a":1}', (1, 2)), ('{"a":1,"b":3}', (1, 3))],
        [('{"b":1}', ["a: is missing"])],
    ),
    Case(
        only_keyword,
        None,
        ["a"],
        [('{"a":1}', (1, 2)), ('{"b":3,"a":1}', (1, 3))],
        [('{"b":1}', ["a: is missing"])],
    ),
    Case(
        in_context,
        {"n": INT},
        ["n"],
        [('{"n":1}', ("deps", 1))],
        [('{"n":1,"ctx":{}}', ["ctx: does not exist"])],
    ),
    Case(
        context_last,
        {"n": INT},
        ["n"],
        [('{"n":1}', (7, 1))],
        [('{"n":1,"ctx":null}', ["ctx: does not exist"])],
    ),
    Case(
        own_context,
        {"n": INT},
        ["n"],
        [('{"n":1}', ("MyContext", "own_context", 1))],
        [("{}", ["n: is missing"])],
    ),
    Case(awaited, {"n": INT}, ["n"], [('{"n":1}', 1)], [("{}", ["n: is missing"])]),
    Case(decorated, {"n": INT}, ["n"], [('{"n":1}', 1)], [("{}", ["n: is missing"])]),
    Case(
        Adder(2).plus, {"n": INT}, ["n"], [('{"n":1}', 3)], [('{"self":1,"n":1}', ["self: does not exist"])]
    ),
    Case(Adder(2), {"n": INT}, ["n"], [('{"n":1}', 3)], [("{}", ["n: is missing"])]),
    Case(Adder.of_class, {"n": INT}, ["n"], [('{"n":1}', "Adder 1")], [("{}", ["n: is missing"])]),
    Case(
        Adder(3).tooled, {"n": INT}, ["n"], [('{"n":1}', 4)], [('{"self":1,"n":1}', ["self: does not exist"])]
    ),
    Case(Adder.tooled_class, {"n": INT}, ["n"], [('{"n":1}', "Adder 1")], [("{}", ["n: is missing"])]),
    Case(Adder.static, {"n": INT}, ["n"], [('{"n":1}', 1)], [("{}", ["n: is missing"])]),
    Case(
        Point,
        {"x": INT, "y": {"type": "integer", "default": 0}},
        ["x"],
        [('{"x":1}', Point(1))],
        [("{}", ["x: is missing"])],
    ),
    Case(
        partial(only_keyword, b=5),
        {"a": INT},
        ["a"],
        [('{"a":1}', (1, 5))],
        [('{"a":1,"b":1}', ["b: does not exist"])],
    ),
    Case(
        partial(rest, "x"),
        None,
        [],
        [('{"more":[1]}', ("x", (1,)))],
        [('{"first":"a"}', ["first: does not exist"])],
    ),
]


def call(made: FunctionTool[..., Any], arguments: str) -> Any:
    """What the function returns for a model's arguments."""
    part = ToolCallPart("c1", made.name, arguments)
    given, named = made.bind(part, lambda kind: kind("deps", part, 7))
    value = made(*given, **named)
    return asyncio.run(value) if asyncio.iscoroutine(value) else value


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: getattr(case.function, "__name__", type(case.function).__name__)
)
def test_a_signature_its_schema_and_its_arguments(case: Case) -> None:
    made = tool(case.function)
    assert isinstance(made, FunctionTool)
    assert made.parameters | {"properties": 0, "required": 0, "$defs": 0} == {
        **NO_MORE,
        "properties": 0,
        "required": 0,
        "$defs": 0,
    }
    if case.properties is not None:
        assert made.parameters["properties"] == case.properties
    assert made.parameters.get("required", []) == case.required
    for arguments, expected in case.taken:
        assert call(made, arguments) == expected, arguments
    for arguments, words in case.refused:
        with pytest.raises(ToolArgumentsError) as refused:
            call(made, arguments)
        assert all(each in str(refused.value) for each in words), str(refused.value)


def test_a1_a_postponed_annotation_of_a_local_class_is_found_or_named() -> None:
    @dataclass
    class Local:
        x: int

    def known(p: Local, q: Local | None = None) -> int:
        return p.x

    def unknown(p: Nowhere) -> int:  # type: ignore[name-defined]  # noqa: F821
        return p.x

    assert call(tool(known), '{"p":{"x":1}}') == 1
    with pytest.raises(TypeError, match=r"'unknown'.*'Nowhere' of its parameter 'p'"):
        tool(unknown)


def test_a3_with_coerce_texts_are_numbers_and_one_error_lists_every_bad_argument() -> None:
    entered = []

    @tool(coerce=True)
    def add(n: int, m: int = 0, b: bool = False) -> int:
        entered.append((n, m, b))
        return n + m

    assert [call(add, given) for given in ('{"n":"5","b":"true"}', '{"n":5.0,"m":"1"}')] == [5, 6]
    entered.clear()
    for bad in ("true", "null", '"five"', "[5]"):
        with pytest.raises(ToolArgumentsError) as refused:
            call(add, f'{{"n":{bad},"m":"x","b":"maybe","z":1}}')
        assert [line.partition(":")[0] for line in str(refused.value).splitlines()[1:]] == [
            "- n",
            "- m",
            "- b",
            "- z",
        ]
    assert entered == []


def test_a4_null_for_a_default_of_another_type_is_the_default_and_else_none() -> None:
    @tool(strict=True)
    def both(x: int = 3, y: int | None = 3) -> Any:
        return x, y

    assert both.strict is True
    assert call(both, '{"x":null,"y":null}') == (3, None)
    with Client("openai-chat:m", api_key="k") as client:
        body = msgspec.json.decode(client.prepare("x", tools=[both]).body)
    sent = body["tools"][0]["function"]
    assert sent["strict"] is True
    assert sorted(sent["parameters"]["required"]) == ["x", "y"]


def test_a6_what_cannot_be_a_tool_is_refused_by_name() -> None:
    def unhinted(a: int, b) -> int:  # type: ignore[no-untyped-def]
        return a

    def complexes(z: complex) -> int:
        return 1

    with pytest.raises(TypeError, match="'unhinted': its parameter 'b' has no type hint"):
        tool(unhinted)
    with pytest.raises(TypeError, match=r"complexes\.z: complex has no form in JSON"):
        tool(complexes)
    for wrong_signature in (min, type("Odd", (), {"__call__": number, "__signature__": 5})()):
        with pytest.raises(TypeError, match=r"the tool '\w+': its signature cannot be read \("):
            tool(wrong_signature)
    with pytest.raises(TypeError, match=r"a tool is made of a function, not 3"):
        tool(3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="write @classmethod and @staticmethod above @tool"):
        tool(classmethod(number))  # type: ignore[call-overload, arg-type]
    with pytest.raises(TypeError, match="a tool has no 'retries'; it takes name"):
        tool(retries=3)(number)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"tools\[0\]: 'tooled' is a method: pass that of an instance"):
        as_tools([Adder.tooled])
    for wrong in (Adder.plus, tool(Adder.plus)):
        with pytest.raises(TypeError, match=r"tools\[0\]: 'plus' is a method: pass that of an instance"):
            as_tools([wrong])
    with Client("openai-chat:m", api_key="k") as client:
        for ask in (client.chat, client.stream, client.prepare, client.run):
            with pytest.raises(TypeError, match="'plus' is a method"):
                ask("hi", tools=[Adder.plus])  # type: ignore[operator]
    with pytest.raises(TypeError, match=r"tools\[1\] takes a Tool, a HostedTool or a function"):
        as_tools([number, int])


def said(x: "the city") -> None: ...  # type: ignore[syntax]  # noqa: F722
def cut(x: "list[") -> None: ...  # type: ignore[syntax]  # noqa: F722
def misspelt(x: asyncio.Missing) -> None: ...  # type: ignore[name-defined]
def added(x: "1 + 'a'") -> None: ...  # type: ignore[valid-type]  # noqa: F821, UP037
def paired(x: (int, str)) -> None: ...  # type: ignore[syntax]
def listed(x: [int]) -> None: ...  # type: ignore[valid-type]
def counted(x: 3) -> None: ...  # type: ignore[valid-type]
def lost(x: Lost) -> None: ...
def lost_below(x: list[Around] | None = None) -> None: ...
def starred(*x: ToolContext[None]) -> None: ...
def named(**x: ToolContext[None]) -> None: ...


@pytest.mark.parametrize(
    "function",
    [said, cut, misspelt, added, paired, listed, counted, lost, lost_below, starred, named],
    ids=lambda each: each.__name__,
)
def test_what_is_no_type_is_named_with_its_tool_and_parameter(function: Any) -> None:
    name = function.__name__
    with pytest.raises(TypeError, match=rf"the tool '{name}'.* its parameter 'x'|{name}\.x"):
        tool(function)


def unknown(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (unknown, "define the type at the module's level"),
        *((each, "write a type in its place") for each in (said, cut, misspelt, added)),
    ],
)
def test_what_to_write_for_a_hint_that_is_no_type_is_said(function: Any, remedy: str) -> None:
    with pytest.raises(TypeError, match=rf"cannot be evaluated \(.*\); {remedy}$"):
        tool(function)


def paint(colour: Colour, n: int = 1) -> str:
    return colour.value * n


class Painter:
    def __init__(self, colour: Colour) -> None: ...

    def __call__(self, colour: Colour) -> None: ...

    def paint(self, colour: Colour) -> None: ...

    @classmethod
    def of_class(cls, colour: Colour) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        *(paint, traced(paint), cache(paint), singledispatch(paint)),
        *(partial(paint, n=2), partial(cache(paint), n=2), cache(partial(paint, n=2))),
        *(Painter, Painter(Colour.RED), Painter(Colour.RED).paint, Painter.of_class),
        *(partial(Painter), cache(Painter(Colour.RED).paint), singledispatch(Painter.of_class)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_names_in_hints_are_those_of_the_module_that_wrote_them(function: Any) -> None:
    """Not of the decorator's, whatever stands around the function."""
    made = tool(name="paint")(function)
    assert made.parameters["properties"]["colour"] == {"type": "string", "enum": ["red", "blue"]}


class Silent:
    def __call__(self, n: int) -> int:
        return n


class Speaking:
    """Of the class."""

    def __call__(self, n: int) -> int:
        """Of the call."""
        return n


class Giving:
    def __call__(self, n: int) -> Any:
        yield n


def documented(n: int, m: int = 2) -> int:
    """Of the function."""
    return n


# What can be called, its name as a tool, and its description.
NAMED: tuple[tuple[Any, str, str], ...] = (
    (documented, "documented", "Of the function."),
    (partial(documented, m=1), "documented", "Of the function."),
    (partial(partial(documented, m=1)), "documented", "Of the function."),
    (Adder(1).plus, "plus", "Add to n."),
    (Adder(1), "Adder", "Adds."),
    (Speaking(), "Speaking", "Of the call."),
    (Silent(), "Silent", ""),
    (Speaking, "Speaking", "Of the class."),
    (partial(Speaking()), "Speaking", "Of the call."),
    (partial(Adder(1)), "Adder", "Adds."),
    (traced(documented), "documented", "Of the function."),
)


@pytest.mark.parametrize(("function", "name", "words"), NAMED, ids=lambda each: str(each)[:20])
def test_a_tool_has_the_name_and_the_words_of_what_it_is_made_of(
    function: Any, name: str, words: str
) -> None:
    made = tool(function)
    assert (made.name, made.description) == (name, words)
    again = tool(name="other", description="Else.")(function)
    assert (again.name, again.description) == ("other", "Else.")
    assert again.function is function and again.__wrapped__ is function


def unhinted_first(self, n: int) -> int:  # type: ignore[no-untyped-def]
    return n


def test_only_a_function_in_its_classs_body_is_a_method() -> None:
    def self_first(self: int, n: int) -> int:
        return n

    def first_is_other(other, n: int) -> int:  # type: ignore[no-untyped-def]
        return n

    class Holder:
        def method(self, n: int) -> int:
            return n

        def of_class(cls, n: int) -> int:
            return n

        def typed(self: Any, n: int) -> int:
            return n

        def other(this, n: int) -> int:  # type: ignore[no-untyped-def]
            return n

        def none() -> int:  # type: ignore[misc]
            return 1

    def unhinted(self, n: int) -> int:  # type: ignore[no-untyped-def]
        return n

    assert is_method(Holder.method) and is_method(Holder.of_class)
    for function in (unhinted, unhinted_first):
        with pytest.raises(TypeError, match=f"{function.__name__}': its parameter 'self' has no type hint"):
            tool(function)
    for function in (
        self_first,
        first_is_other,
        Holder.typed,
        Holder.other,
        Holder.none,
        Holder().method,
        Holder,
        len,
    ):
        assert not is_method(function)
    assert call(tool(self_first), '{"self":1,"n":2}') == 2


class NotAContext:
    deps: str


# A parameter's type hint, and the class that the run fills it with; None: the model fills it.
FILLED: tuple[tuple[Any, Any], ...] = (
    (ToolContext, ToolContext),
    (ToolContext[str], ToolContext),
    (MyContext, MyContext),
    (MyContext | None, MyContext),
    (int | MyContext, MyContext),
    (Annotated[MyContext, "of the run"], MyContext),
    (Annotated[ToolContext[str] | None, "of the run"], ToolContext),
    (Annotated[int, MyContext], None),
    (int | None, None),
    (list[int], None),
    (str, None),
)


@pytest.mark.parametrize(("hint", "kind"), FILLED, ids=lambda each: str(each)[-40:])
def test_a_context_is_known_by_its_hint(hint: Any, kind: Any) -> None:
    def f(ctx, n: int) -> Any:  # type: ignore[no-untyped-def]
        return ctx, n

    f.__annotations__["ctx"] = hint
    made = tool(f)
    assert ("ctx" in made.parameters["properties"]) == (kind is None)
    if kind is not None:
        assert type(call(made, '{"n":1}')[0]) is kind


@pytest.mark.parametrize("name", ["a", "_", "A-1_", "x" * 64])
def test_a_name_of_a_tool_may_have(name: str) -> None:
    assert tool(name=name)(number).name == name
    taken: dict[str, None] = {}
    assert free_name(name, taken) == name


def test_free_names_stay_within_what_services_take() -> None:
    taken: dict[str, None] = {"a": None, **{f"a_{n}": None for n in range(2, 10)}}
    assert free_name("a", taken) == "a_10"
    long = "x" * 64
    assert free_name("1" * 64, {}) == "_" + "1" * 63
    assert free_name(long, {long: None}) == "x" * 62 + "_2"
    assert (
        free_name(long, {long: None, **{f"{'x' * 62}_{n}": None for n in range(2, 10)}}) == "x" * 61 + "_10"
    )
    assert [free_name(name, {}) for name in ("", "größe", "-a", "a.b c")] == ["_", "gr__e", "_-a", "a_b_c"]


def test_generators_are_no_tools() -> None:
    def gives(n: int) -> Any:
        yield n

    async def gives_later(n: int) -> Any:
        yield n

    class Giver:
        def __call__(self, n: int) -> Any:
            yield n

        def method(self, n: int) -> Any:
            yield n

    for wrong in (gives, gives_later, partial(gives, 1), Giver(), Giver().method, Giver.method, Giving()):
        with pytest.raises(TypeError, match="is a generator function: return a list"):
            tool(wrong)


def with_context(a: str, *, n: int = 1, ctx: ToolContext[None], **more: Any) -> str:
    return a


def two_names(a: str, *, user: str, **more: Any) -> str:
    return user


@pytest.mark.parametrize(
    ("function", "more", "names"),
    [
        (with_context, {"ctx": "EVIL"}, ["ctx"]),
        (with_context, {"n": "none", "a": "twice", "m": 1}, ["n", "a"]),
        (partial(two_names, user="guest"), {"user": "root"}, ["user"]),
        (partial(two_names, "x", user="guest", level=1), {"level": 9, "a": "y"}, ["level", "a"]),
    ],
)
def test_further_members_are_none_that_the_function_has(
    function: Callable[..., Any], more: dict[str, Any], names: list[str]
) -> None:
    """What the run, a partial or another parameter gives is never the model's to replace through `**more`."""
    made = tool(function)
    rest = {"a": 3} if "a" in made.parameters["properties"] else {}
    arguments = msgspec.json.encode({**rest, "more": more}).decode()
    with pytest.raises(ToolArgumentsError) as caught:
        made.bind(ToolCallPart("c", made.name, arguments), lambda kind: kind(None, None, 1))  # type: ignore[arg-type]
    found = [line.partition(":")[0] for line in str(caught.value).splitlines()[1:]]
    assert found == [*(f"- {name}" for name in rest), *(f"- more.{name}" for name in names)]
    fine = msgspec.json.encode({**dict.fromkeys(rest, "x"), "more": {"m": 1}}).decode()
    _, named = made.bind(ToolCallPart("c", made.name, fine), lambda kind: kind(None, None, 1))  # type: ignore[arg-type]
    assert named["m"] == 1


def test_a7_names_that_services_refuse_are_refused_or_mapped() -> None:
    with pytest.raises(ValueError, match=r"refuse a tool named '<lambda>'"):
        tool(lambda: None)
    for name in ("a.b", "x" * 65, "", "1st", "größe"):
        with pytest.raises(ValueError, match="services refuse a tool named"):
            tool(name=name)(number)
    with pytest.raises(ValueError, match="two tools are named 'number'"):
        as_tools([number, Tool("number", "", {})])
    assert (
        len(as_tools([number, HostedTool("web_search"), HostedTool("web_search"), tool(name="n2")(number)]))
        == 4
    )
    taken: dict[str, None] = {}
    for name in ("a.b", "a/b", "1st", "x" * 70, "x" * 71):
        taken[free_name(name, taken)] = None
    assert list(taken) == ["a_b", "a_b_2", "_1st", "x" * 64, "x" * 62 + "_2"]


def test_a_tool_stays_a_function() -> None:
    @tool(timeout=3, parallel=False, requires_approval=True)
    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    assert add(1) == 2 and add(1, b=3) == 4
    assert (add.name, add.description, add.timeout, add.parallel, add.requires_approval) == (
        "add",
        "Add.",
        3,
        False,
        True,
    )
    again = Tool.from_function(add, name="plus", description="Sum.")
    assert (again.name, again.description, again(2)) == ("plus", "Sum.", 3)
    bound = MethodType(Adder.__dict__["tooled"], Adder(5))  # what a class method is from Python 3.13 on
    assert call(as_tools([bound])[0], '{"n":1}') == 6  # type: ignore[arg-type]
    first, second = Adder(1), Adder(2)
    assert (first.tooled(1), second.tooled(1), first.tooled.description) == (2, 3, "Add, as a tool.")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"timeout": "3"}, "FunctionTool.timeout takes a number or None"),
        ({"parallel": 1}, "FunctionTool.parallel takes True or False"),
        ({"on_error": 3}, "FunctionTool.on_error takes a function or None"),
        ({"description": 3}, "FunctionTool.description takes text"),
        ({"timeout": -1}, "timeout takes seconds above 0, or None, not -1"),
        ({"timeout": 0}, "timeout takes seconds above 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        tool(**wrong)(number)


GOOGLE = """Find it.

    Slowly
    or fast.

    Args:
        a (int): the a,
            at length.
        *rest: others.

    Returns:
        What it found.
"""
NUMPY = """Find it.

    Parameters
    ----------
    a : int
        the a,
        at length.
    b, c : str
        both
    """
SPHINX = "Find it.\n\n:param a: the a,\n    at length.\n:param str b: the b\n:raises X: never"


@pytest.mark.parametrize(
    ("text", "description", "parameters"),
    [
        (None, "", {}),
        ("  \n ", "", {}),
        ("Find\nit.", "Find it.", {}),
        ("Find it.\n\n- a list\n- goes on", "Find it.\n\n- a list\n- goes on", {}),
        (GOOGLE, "Find it.\n\nSlowly or fast.", {"a": "the a, at length.", "rest": "others."}),
        ("Find it.\nArgs:\n    a: the a", "Find it.", {"a": "the a"}),
        ("Args:\n    a: the a\n", "", {"a": "the a"}),
        ("Args:\n        a: the a\n    Returns:\n        x\n    ", "", {"a": "the a"}),
        (NUMPY, "Find it.", {"a": "the a, at length.", "b": "both", "c": "both"}),
        (SPHINX, "Find it.", {"a": "the a, at length.", "b": "the b"}),
        ("Find it.\n\n@param a: the a\n@type a: int", "Find it.", {"a": "the a"}),
    ],
)
def test_docstrings_of_every_style(text: str | None, description: str, parameters: dict[str, str]) -> None:
    assert read_docstring(text) == (description, parameters)


def test_without_the_extra_the_first_paragraph_is_the_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docstring_parser", None)

    assert read_docstring(GOOGLE) == ("Find it.", {})


def test_the_docstring_of_a_parameter_is_in_the_schema() -> None:
    @tool
    def f(a: Point, b: Annotated[int, "of the hint"]) -> None:
        """Do it.

        Args:
            a: where
            b: of the docstring
        """

    found = {name: each["description"] for name, each in f.parameters["properties"].items()}
    assert found == {"a": "where", "b": "of the hint"}


def test_nothing_of_it_is_loaded_with_the_package() -> None:
    script = (
        "import sys, brainwires_provider; brainwires_provider.Client; brainwires_provider.tool; "
        "print([n for n in sys.modules if n in ('docstring_parser', 'mcp', 'pydantic') "
        "or n.endswith(('.runs.run', '.signatures', '.typed'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"
