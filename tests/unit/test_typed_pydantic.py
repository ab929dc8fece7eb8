"""Pydantic's types, which validate themselves, alone and within others'."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest

pydantic = pytest.importorskip("pydantic")

from brainwires_provider.types.typed import Invalid, typed_of  # noqa: E402

T = TypeVar("T")


class Color(Enum):
    RED = "red"


class Leaf(pydantic.BaseModel):
    kind: Literal["leaf"] = "leaf"
    color: Color = Color.RED
    size: int = 3


class Branch(pydantic.BaseModel):
    kind: Literal["branch"] = "branch"
    parts: list[Leaf | Branch] = pydantic.Field(default_factory=list)
    up: Branch | None = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    day: date


class Plain(pydantic.BaseModel):
    a: int


class Other(pydantic.BaseModel):
    b: int


class Box(pydantic.BaseModel, Generic[T]):
    item: T


class Words(pydantic.RootModel[list[str]]):
    pass


class Scores(pydantic.RootModel[dict[str, int]]):
    pass


@dataclass
class Holder:
    plain: Plain
    tree: Branch
    many: list[Branch]
    even: Annotated[int, pydantic.AfterValidator(lambda n: n + n % 2)]
    few: Annotated[list[int], pydantic.Field(max_length=2, description="a few")]
    site: pydantic.HttpUrl | None = None


TABLE: tuple[tuple[Any, Any, Any], ...] = (
    (Plain, {"a": 1}, Plain(a=1)),
    (Strict, {"day": "2026-01-02"}, Strict(day=date(2026, 1, 2))),
    (Box[int], {"item": 1}, Box[int](item=1)),
    (Words, ["a"], Words(["a"])),
    (Scores, {"a": 1}, Scores({"a": 1})),
    (Leaf, {"color": None, "size": None}, Leaf()),
    (Branch, {"parts": [{"kind": "leaf", "size": 1}], "up": None}, Branch(parts=[Leaf(size=1)])),
    (Leaf | Branch, {"kind": "branch"}, Branch()),
    (Plain | Other, {"kind": "Other", "b": 2}, Other(b=2)),
    (Plain | Words, ["a"], Words(["a"])),
    (pydantic.HttpUrl, "https://example.com/", pydantic.HttpUrl("https://example.com/")),
    (pydantic.conint(gt=3), 4, 4),
)


@pytest.mark.parametrize(("hint", "given", "value"), TABLE, ids=lambda each: str(each)[:40])
def test_models_validate_themselves(hint: Any, given: Any, value: Any) -> None:
    typed: Any = typed_of(hint)

    made = typed.convert(given)
    assert made == value and type(made) is type(value)
    assert "$ref" not in typed.schema


def test_every_problem_has_its_path() -> None:
    given = {
        "plain": {"a": "x"},
        "tree": {"parts": [{"kind": "leaf", "size": "big"}]},
        "many": [{}],
        "even": "x",
        "few": [1, 2, 3],
        "site": "nowhere",
    }
    with pytest.raises(Invalid) as caught:
        typed_of(Holder).convert(given)
    paths = [each.path for each in caught.value.problems]
    assert [path.partition(".")[0].partition("[")[0] for path in dict.fromkeys(paths)][:2] == [
        "plain",
        "tree",
    ]
    assert {"plain.a", "even", "few", "site"} <= set(paths)
    schema = typed_of(Holder).schema
    assert (
        schema["properties"]["few"]["maxItems"] == 2 and schema["properties"]["few"]["description"] == "a few"
    )


def test_models_stand_within_other_types() -> None:
    given = {"plain": {"a": 1}, "tree": {}, "many": [{"parts": [{"kind": "branch"}]}], "even": 3, "few": []}
    made = typed_of(Holder).convert(given)
    assert made == Holder(Plain(a=1), Branch(), [Branch(parts=[Branch()])], 4, [])


def test_definitions_of_one_name_are_kept_apart() -> None:
    def other() -> Any:
        class Color(Enum):
            BLUE = "blue"

        class Paint(pydantic.BaseModel):
            color: Color
            second: Color

        return Paint

    class Both(pydantic.BaseModel):
        color: Color
        second: Color

    schema = typed_of(tuple[Both, other()]).schema  # type: ignore[misc]
    words = {name: body["enum"] for name, body in schema["$defs"].items()}
    first, second = (item["properties"]["color"]["$ref"] for item in schema["prefixItems"])
    assert words[first.removeprefix("#/$defs/")] == ["red"] and words[second.removeprefix("#/$defs/")] == [
        "blue"
    ]


def test_a_model_without_a_schema_is_named() -> None:
    class Unknown: ...

    class Bad(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        x: Unknown

    Bad.model_rebuild(_types_namespace={"Unknown": Unknown})
    with pytest.raises(TypeError, match=r"Pydantic makes no schema of .*Bad"):
        typed_of(Bad)


def test_what_a_validator_raises_is_a_problem() -> None:
    class Ratio(pydantic.BaseModel):
        of: int

        @pydantic.field_validator("of")
        @classmethod
        def divides(cls, of: int) -> float:
            return 1 / of

    with pytest.raises(Invalid, match="is refused by Ratio"):
        typed_of(list[Ratio]).convert([{"of": 0}])


@dataclass
class Alike:
    a: Annotated[str, pydantic.StringConstraints(pattern="[a-z]+", to_upper=True)]
    b: Annotated[str, pydantic.StringConstraints(pattern="[a-z]+", to_upper=True)]


def test_a_constraint_that_occurs_twice_is_checked_twice() -> None:
    with pytest.raises(Invalid) as caught:
        typed_of(Alike).convert({"a": "1", "b": "2"})
    assert [problem.path for problem in caught.value.problems] == ["a", "b"]
    assert typed_of(Alike).convert({"a": "x", "b": "y"}) == Alike("X", "Y")
