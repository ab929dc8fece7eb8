"""The annotations of classes, resolved, with the values of their variables."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

__all__ = ["bound_of", "hints_of", "substituted"]


def hints_of(thing: Any, names: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The annotations of a class or function, resolved; `names` are further names that they may use.

    Raises TypeError for what cannot be resolved.
    """
    with suppress(Exception):  # it may refer to itself within a function
        return get_type_hints(thing, include_extras=True)
    title = getattr(thing, "__name__", repr(thing))
    local = {title: thing, **(vars(thing) if isinstance(thing, type) else {}), **(names or {})}
    try:
        return get_type_hints(thing, localns=local, include_extras=True)
    except Exception as error:  # noqa: BLE001 (whatever the text of one raises)
        remedy = (
            "define what they name at the module's level, and import it outside `if TYPE_CHECKING`"
            if isinstance(error, NameError)
            else "write types"
        )
        raise TypeError(f"the annotations of {title} cannot be resolved ({error}): {remedy}") from None


def bound_of(variable: TypeVar) -> Any:
    """What a variable without a value stands for."""
    if variable.__constraints__:
        return reduce(or_, variable.__constraints__)
    return Any if variable.__bound__ is None else variable.__bound__


def _bindings(hint: Any) -> dict[Any, dict[Any, Any]]:
    """A generic class and its bases, each with the values of its own variables: a base's may have the same names."""
    origin = get_origin(hint) or hint
    bound = dict(zip(getattr(origin, "__parameters__", ()), get_args(hint), strict=False))
    found = {origin: bound}
    for base in getattr(origin, "__dict__", {}).get("__orig_bases__", getattr(origin, "__bases__", ())):
        if (get_origin(base) or base) not in (object, dict, typing.Generic):
            for each, values in _bindings(_with(base, bound)).items():
                found[each] = {**values, **found.get(each, {})}
    return found


def _with(hint: Any, bound: Mapping[Any, Any]) -> Any:
    """A type with the values of its variables."""
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    variables = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    generic: Any = hint
    return generic[tuple(bound.get(each, each) for each in variables)] if variables else hint


def substituted(hint: Any, cls: Any) -> dict[str, Any]:
    """The annotations of a class, with the values of the variables of the class that has written each."""
    found = _bindings(hint)
    bases = [each for each in cls.__mro__ if each in found]
    if issubclass(
        cls, dict
    ):  # a TypedDict has the annotations of all its bases, which are none of its classes
        bases = list(reversed(found))
    owners: dict[str, Any] = {}
    for base in bases:
        for name, written in vars(base).get("__annotations__", {}).items():
            if base is cls or not issubclass(cls, dict) or written == cls.__annotations__[name]:
                owners.setdefault(name, base)
    return {
        name: _of_class(_with(each, found[owners.get(name, cls)]), hint)
        for name, each in hints_of(cls).items()
    }


def _of_class(hint: Any, cls: Any) -> Any:
    """A type with the class in the place of `Self`."""
    if hint is typing.Self:
        return cls
    args = get_args(hint)
    made = tuple(_of_class(each, cls) for each in args)
    if all(new is old for new, old in zip(made, args, strict=True)):
        return hint
    origin: Any = get_origin(hint)
    if origin is Annotated:
        return Annotated[(made[0], *hint.__metadata__)]
    return reduce(or_, made) if origin is types.UnionType else origin[made[0] if len(made) == 1 else made]
