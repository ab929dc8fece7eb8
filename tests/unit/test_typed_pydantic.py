"""Pydantic's types, which validate themselves, alone and within others'."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest

pydantic = pytest.importorskip("pydantic")
pydantic_core = pytest.importorskip("pydantic_core")

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


class Nullable(pydantic.BaseModel):
    number: int | None = 3
    word: Literal["a"] | None = "a"
    anything: Any = 3
    never: int = 3
    neither: int | str = 3


class Spot(Enum):
    HOME = (0, 0)


class Fixed(pydantic.BaseModel):
    spot: Literal[Spot.HOME] = Spot.HOME
    name: str


class Doubled:
    """A mark of a program's own, which only Pydantic understands."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return pydantic_core.core_schema.no_info_after_validator_function(lambda n: 2 * n, handler(source))


Even = Annotated[int, pydantic.AfterValidator(lambda n: n + n % 2)]
Positive = Annotated[float, pydantic.Field(gt=3, allow_inf_nan=False)]


@dataclass
class Holder:
    plain: Plain
    tree: Branch
    many: list[Branch]
    even: Even
    few: Annotated[list[int], pydantic.Field(max_length=2, description="a few")]
    site: pydantic.HttpUrl | None = None


TABLE: tuple[tuple[Any, Any, Any], ...] = (
    (Plain, {"a": 1}, Plain(a=1)),
    (Strict, {"day": "2026-01-02"}, Strict(day=date(2026, 1, 2))),
    (Box[int], {"item": 1}, Box[int](item=1)),
    (Words, ["a"], Words(["a"])),
    (Scores, {"a": 1}, Scores({"a": 1})),
    (Leaf, {"color": None, "size": None}, Leaf()),
    (
        Nullable,
        {"number": None, "word": None, "anything": None, "never": None, "neither": None},
        Nullable(number=None, word=None, anything=None),
    ),
    (Branch, {"parts": [{"kind": "leaf", "size": 1}], "up": None}, Branch(parts=[Leaf(size=1)])),
    (Leaf | Branch, {"kind": "branch"}, Branch()),
    (Plain | Other, {"kind": "Other", "b": 2}, Other(b=2)),
    (Plain | Words, ["a"], Words(["a"])),
    (pydantic.HttpUrl, "https://example.com/", pydantic.HttpUrl("https://example.com/")),
    (pydantic.conint(gt=3), 4, 4),
    (Annotated[int, Doubled()], 4, 8),
    (float | Even, 3, 4),
    (float | Even, 1.5, 1.5),
)


@pytest.mark.parametrize(("hint", "given", "value"), TABLE, ids=lambda each: str(each)[:40])
def test_models_validate_themselves(hint: Any, given: Any, value: Any) -> None:
    typed: Any = typed_of(hint)

    made = typed.convert(given)
    assert made == value and type(made) is type(value)
    assert "$ref" not in typed.schema


# A type, a value that it refuses, and what the model is told.
REFUSED: tuple[tuple[Any, Any, str], ...] = (
    (Plain, {"a": None}, "a: Input should be a valid integer"),
    (Nullable, {"number": "x"}, "number: Input should be a valid integer"),
    (Branch, {"parts": [{"kind": "leaf", "size": [None]}]}, "parts[0].Leaf.size: Input should be"),
    # The kind of the value says which of a union is meant.
    (Plain | Words, [1], "[0]: Input should be a valid string"),
    (Plain | Words, {"a": []}, "a: Input should be a valid integer"),
    (Words | Plain, {"a": []}, "a: Input should be a valid integer"),
    (Positive | str, 1, "Input should be greater than 3"),
    (Positive | str, 1.5, "Input should be greater than 3"),
    (Plain | Other, {"kind": "Words", "b": 2}, 'kind: must be "Plain" or "Other"'),
    (Plain | Fixed, {"name": "x"}, 'kind: is missing; it must be "Plain" or "Fixed"'),
)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        *((int, "an integer"), (str, "a string"), (bool, "true or false")),
        *((list[int], "an array"), (dict[str, int], "an object")),
    ],
)
def test_what_is_of_no_kind_that_a_union_takes_is_told_which_it_takes(kind: Any, words: str) -> None:
    validated = Annotated[kind, pydantic.AfterValidator(lambda value: value)]
    wrong = 5 if kind is str else "x"
    with pytest.raises(Invalid, match=f"^- must be {words} or null, not {wrong!r}$".replace("'", '"')):
        typed_of(validated | None).convert(wrong)


@pytest.mark.parametrize(("hint", "given", "words"), REFUSED, ids=lambda each: str(each)[:40])
def test_what_a_model_refuses_is_told_with_its_place(hint: Any, given: Any, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        typed_of(hint).convert(given)
    assert str(caught.value).startswith(f"- {words}")


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


def test_definitions_that_refer_to_others_are_kept_apart_too() -> None:
    def painted(*words: str) -> Any:
        class Tint(Enum):
            LIGHT, DARK = words

        class Coat(pydantic.BaseModel):
            tint: Tint
            under: Tint

        class Wall(pydantic.BaseModel):
            coats: list[Coat]

        return Wall

    words = [["red", "brown"], ["blue", "black"], ["red", "brown"]]
    first, second, third = (painted(*each) for each in words)
    schema = typed_of(tuple[first, second, third]).schema  # type: ignore[valid-type]

    def found(node: Any) -> Any:
        return schema["$defs"][node["$ref"].removeprefix("#/$defs/")]

    coats = [found(wall["properties"]["coats"]["items"]) for wall in schema["prefixItems"]]
    assert [found(coat["properties"]["under"])["enum"] for coat in coats] == words
    assert schema["$defs"].keys() == {"Coat", "Tint", "Coat_2", "Tint_2"}


@pytest.mark.parametrize(
    "hint",
    [
        Annotated[int, pydantic.Discriminator("kind")],
        Annotated[str, pydantic.StringConstraints(pattern="(", to_upper=True)],
        Annotated[str, pydantic.StringConstraints(pattern="(?=a)b", to_upper=True)],
    ],
)
def test_what_pydantic_makes_nothing_of_is_named_with_its_place(hint: Any) -> None:
    with pytest.raises(TypeError, match=r"^list\[.*\]\[\]: Pydantic makes no schema of .*Annotated"):
        typed_of(list[hint])


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
