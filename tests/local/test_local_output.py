"""Typed answers of a real model, which the engine holds to the schema: always valid, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import pytest
from msgspec import Meta, Struct

from brainwires_provider import Client, Retry
from engines import NEEDS_ENGINE

pytestmark = NEEDS_ENGINE
Word = Annotated[str, Meta(max_length=12)]


class Color(Enum):
    RED = "red"
    GREEN = "green"


@dataclass
class Person:
    """A person."""

    name: Word
    age: Annotated[int, Meta(ge=0, le=150)]
    color: Color | None = None


@dataclass
class Cat:
    name: Word


@dataclass
class Dog:
    name: Word


class Tree(Struct):
    value: Literal["a", "b"]
    left: Tree | None = None


class Movie(TypedDict, total=False):
    title: Word
    year: int


class Point(NamedTuple):
    x: bool
    y: Literal[1, 2]


TYPES: tuple[Any, ...] = (
    int,
    bool,
    Color,
    Literal["yes", "no", 3],
    Person,
    Cat | Dog,
    Annotated[list[Color], Meta(max_length=3)],
    Movie,
    Point,
    tuple[bool, Color],
    Annotated[dict[Color, int], Meta(max_length=2)],
    int | None,
    date,
    UUID,
    Decimal,
)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("local:") as made:
        yield made


@pytest.mark.parametrize("hint", TYPES, ids=str)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_always_of_its_type(client: Client, hint: Any, stream: bool) -> None:
    args: Any = {"output": hint, "seed": 1, "max_tokens": 200, "retry": Retry(attempts=1, repairs=0)}
    if stream:
        with client.stream("Say something about Ada.", **args) as answer:
            values = list(answer.partial_output())
        assert values[-1] == answer.response.output
    else:
        assert client.chat("Say something about Ada.", **args).finish_reason == "stop"
