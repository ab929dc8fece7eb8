"""Typed values: what a model must return, or give a function, by its Python type.

`typed_of(T)` has the JSON Schema of a type and converts JSON values to it; `typed_fields` does the same for several
named values, such as a function's parameters. Nothing here is imported with the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from brainwires_provider.types.annotations import Builder, Field, label, title
from brainwires_provider.types.composites import Object
from brainwires_provider.types.forms import FixedSchema, Form, Problem, Writer, ascii_name
from brainwires_provider.types.generics import hints_of
from brainwires_provider.types.given import Given

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["Field", "Invalid", "Problem", "Typed", "hints_of", "typed_fields", "typed_of", "typed_schema"]

T = TypeVar("T")
_KNOWN = 512


class Invalid(ValueError):
    """A value is not of its type. `problems` are all that are wrong with it; the text lists them for a model."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"- {each}" for each in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class Typed(Generic[T]):
    """A type's schema and conversion. Made by `typed_of` and `typed_fields`; it does not change."""

    def __init__(self, name: str, form: Form) -> None:
        self.name = name
        """Of letters, digits and underscores."""
        self._form = form

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema; not to be changed. Its root is no reference."""
        return FixedSchema(Writer().whole(self._form))

    @property
    def is_object(self) -> bool:
        """Whether every value is a JSON object."""
        return self.schema.get("type") == "object"

    def convert(self, value: Any) -> T:
        """The Python value of a JSON value. Raises Invalid with every problem."""
        problems: list[Problem] = []
        made: Any = None
        try:
            made = self._form.convert(value, "", problems)
        except RecursionError:
            problems = [Problem("", "is nested too deeply")]
        if problems:
            raise Invalid(problems)
        return cast(T, made)


def typed_of(hint: TypeForm[T], *, coerce: bool = False) -> Typed[T]:
    """The schema and conversion of a type, made once.

    With `coerce`, a text is taken where a number or a boolean is asked for and it says one: "5", "true".

    Raises TypeError for a type that has no form in JSON, or an annotation that cannot be resolved: with its name, its
    place, and what to use.
    """
    with suppress(TypeError):  # it has no hash, or no form
        return _known(cast(Any, hint), coerce)
    return _made(hint, coerce)


def _made(hint: Any, coerce: bool) -> Typed[Any]:
    return Typed(ascii_name(label(hint)), Builder(coerce).form(hint, title(hint)))


_known = lru_cache(_KNOWN)(_made)


def typed_schema(name: str, schema: Mapping[str, Any]) -> Typed[Any]:
    """The same for a JSON Schema: its values stay JSON. It may be given as `output=`, as a type may."""
    return Typed(name, Given(schema))


def typed_fields(name: str, fields: Iterable[Field], *, coerce: bool) -> Typed[dict[str, Any]]:
    """The same for several named values, such as parameters: they are converted together, to a dict.

    What was not given, and has a default, is not in the dict. Raises TypeError as `typed_of` does, with the names of
    the whole and of the field.
    """
    form = Object(name, {}, dict)
    form.members = Builder(coerce).members(fields, name)
    return Typed(name, form)
