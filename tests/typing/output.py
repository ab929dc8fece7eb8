"""`output=T` by kinds of type: checked by mypy --strict and pyright, never run. Misuse is refused by both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar, assert_type

from msgspec import Meta, Struct

from brainwires_provider import AsyncClient, AsyncRun, AsyncStream, Client, JSONSchema, Response, Run, Stream
from brainwires_provider.types.typed import Typed, typed_of

T = TypeVar("T")


class Color(Enum):
    RED = "red"


@dataclass
class Person:
    name: str


class Point(Struct):
    x: int


class Movie(TypedDict):
    title: str


class Pair(NamedTuple):
    a: int
    b: str


class Box(Struct, Generic[T]):
    item: T


def kinds(client: Client) -> None:
    assert_type(client.chat("hi", output=Person), Response[Person])
    assert_type(client.chat("hi", output=Person).output.name, str)
    assert_type(client.chat("hi", output=Point).output, Point)
    assert_type(client.chat("hi", output=Movie).output, Movie)
    assert_type(client.chat("hi", output=Pair).output, Pair)
    assert_type(client.chat("hi", output=Box[int]).output, Box[int])
    assert_type(client.chat("hi", output=Color).output, Color)
    assert_type(client.chat("hi", output=int).output, int)
    assert_type(client.chat("hi", output=date).output, date)
    assert_type(client.chat("hi", output=list[Person]).output, list[Person])
    assert_type(client.chat("hi", output=dict[str, int]).output, dict[str, int])
    assert_type(client.chat("hi", output=tuple[int, str]).output, tuple[int, str])
    assert_type(client.chat("hi", output=Person | Point).output, Person | Point)
    assert_type(client.chat("hi", output=int | None).output, int | None)
    assert_type(client.chat("hi", output=Literal["a", "b"]).output, Literal["a", "b"])
    assert_type(client.chat("hi", output=Annotated[int, Meta(ge=1)]).output, int)
    assert_type(client.chat("hi", output="json"), Response[Any])
    assert_type(client.chat("hi", output=JSONSchema("x", {})), Response[Any])
    assert_type(client.chat("hi").output, None)


async def both_faces(client: AsyncClient, plain: Client) -> None:
    assert_type(await client.chat("hi", output=Person), Response[Person])
    assert_type(await client.chat("hi", output=int | None), Response[int | None])
    stream = client.stream("hi", output=list[int])
    assert_type(stream, AsyncStream[list[int]])
    assert_type((await stream.collect()).output, list[int])
    assert_type(plain.stream("hi", output=Person), Stream[Person])
    assert_type(plain.stream("hi", output=Person | None).response.output, Person | None)
    talk = plain.conversation(output=int)
    assert_type(talk.chat("hi", output=Person).output, Person)
    assert_type(talk.stream("hi", output=int | str), Stream[int | str])
    assert_type(talk.chat("hi"), Response[Any])
    assert_type(typed_of(Person), Typed[Person])
    assert_type(typed_of(int | str).convert(5), int | str)


def a_bare_response_is_any(response: Response) -> Any:
    return response.output.anything


def misuse_is_refused(client: Client) -> None:
    _ = client.chat("hi", output=Person).output.age  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
    client.chat("hi", output=Person(name="x"))  # type: ignore[call-overload] # pyright: ignore
    client.chat("hi", output=5)  # type: ignore[call-overload] # pyright: ignore
    client.chat("hi", outptu=int)  # type: ignore[call-overload] # pyright: ignore
    text: str = client.chat("hi", output=int).output  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
    client.stream("hi", output="text")  # type: ignore[call-overload] # pyright: ignore
    print(text)


async def runs(client: AsyncClient, plain: Client) -> None:
    assert_type(client.run("hi", output=Person), AsyncRun[Person])
    assert_type((await client.run("hi", output=int | None).result()).output, int | None)
    assert_type(plain.run("hi", output=list[int]).result().output, list[int])
    assert_type(plain.run("hi"), Run[None])
