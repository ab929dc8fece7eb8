"""Whether a JSON body is what a vendor's SDK declares that its API takes: TypedDicts and Pydantic models.

A field that the type does not have is a fault, as is a missing one that it requires. Of a union, the alternative with
the fewest faults speaks.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import typing_extensions
from typing_extensions import get_type_hints, is_typeddict

_WRAPPERS = (Required, NotRequired, Annotated, typing_extensions.Required, typing_extensions.NotRequired)
_SCALARS: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
    type(None): (type(None),),
    bytes: (str,),
}


def faults(value: Any, hint: Any, path: str = "") -> list[str]:
    """What of a value does not fit a type, with its place."""
    origin = get_origin(hint)
    if origin in _WRAPPERS:
        return faults(value, get_args(hint)[0], path)
    if hint is Any or hint is object:
        return []
    if hasattr(hint, "__value__"):  # an alias of a type
        return faults(value, hint.__value__, path)
    if origin in (Union, types.UnionType):
        given = get_args(hint)
        if any(hasattr(each, "model_fields") for each in given):
            given = tuple(
                each for each in given if get_origin(each) is not Mapping
            )  # a convenience in Python
        found = [faults(value, each, path) for each in given]
        return min(found, key=lambda each: (_is_other(each, path), len(each)))
    if origin is Literal:
        return [] if value in get_args(hint) else [f"{path}: {value!r} is none of {get_args(hint)}"]
    if is_typeddict(hint):
        return _of_typed_dict(value, hint, path)
    if hasattr(hint, "model_fields"):
        return _of_model(value, hint, path)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            return [f"{path}: {type(value).__name__} is no object"]
        return [each for k, v in value.items() for each in faults(v, get_args(hint)[1], f"{path}.{k}")]
    if origin is not None and issubclass(origin, (Iterable, Sequence)):
        if not isinstance(value, list):
            return [f"{path}: {type(value).__name__} is no list"]
        return [each for i, v in enumerate(value) for each in faults(v, get_args(hint)[0], f"{path}[{i}]")]
    if hint in _SCALARS:
        fits = isinstance(value, _SCALARS[hint]) and (hint is bool or not isinstance(value, bool))
        return [] if fits else [f"{path}: {value!r} is no {hint.__name__}"]
    if hasattr(hint, "__supertype__"):
        return faults(value, hint.__supertype__, path)
    if isinstance(hint, type) and issubclass(hint, str):
        return faults(value, str, path)  # a word that the SDK does not know yet
    if isinstance(hint, type) and hasattr(hint, "__members__"):
        return []  # an enumeration that is open to new members
    if hint is dict or hint is list:
        return [] if isinstance(value, hint) else [f"{path}: {type(value).__name__} is no {hint.__name__}"]
    return [f"{path}: the type {hint!r} is not read here"]


def _is_other(found: list[str], path: str) -> int:
    """Whether the faults show that another alternative is meant: 2 for another JSON type, 1 for another tag."""
    if any(each.startswith(f"{path}: ") and " is no" in each for each in found):
        return 2
    return int(any(each.startswith((f"{path}.type: ", f"{path}.role: ")) for each in found))


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _of_typed_dict(value: Any, hint: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {type(value).__name__} is no {hint.__name__}"]
    hints = _hints(hint)
    required = {name for name, inner in hints.items() if _is_required(hint, name, inner)}
    found = [f"{path}: {hint.__name__} requires {name}" for name in sorted(required - value.keys())]
    for name, inner in value.items():
        if name in hints:
            found += faults(inner, hints[name], f"{path}.{name}")
        else:
            found.append(f"{path}.{name}: {hint.__name__} has no such field")
    return found


def _is_required(hint: Any, name: str, inner: Any) -> bool:
    """The wrapper decides: in a module with postponed annotations the class itself has not seen it."""
    origin = get_origin(inner)
    if origin in (NotRequired, typing_extensions.NotRequired):
        return False
    return origin in (Required, typing_extensions.Required) or (
        name in hint.__required_keys__ and hint.__total__
    )


def _of_model(value: Any, hint: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {type(value).__name__} is no {hint.__name__}"]
    named = {field.alias or name: field for name, field in hint.model_fields.items()}
    found = []
    for name, inner in value.items():
        if name in named:
            found += faults(inner, named[name].annotation, f"{path}.{name}")
        else:
            found.append(f"{path}.{name}: {hint.__name__} has no such field")
    return found
