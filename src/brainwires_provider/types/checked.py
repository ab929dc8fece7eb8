"""Checks the fields of a value against their annotations when it is made.

A wrong type, an unknown word, or something that is no JSON raises an error that names the field, what was given, and
what is right, in the line that gave it and not where a request is encoded. Bool is no integer, an integer is a number,
a list is taken where a tuple is kept. What a decoder made has an origin: its JSON came from JSON, and is not searched.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from operator import methodcaller
from reprlib import Repr
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct, UnsetType
from msgspec.structs import force_setattr

from brainwires_provider.types.suspects import is_secret_name, looks_like_key

__all__ = ["Checked", "check", "check_json", "copied", "encode_unusual", "misfit", "plain", "shown"]

_Rule: TypeAlias = tuple[str, frozenset[type], Any, frozenset[type], tuple[Any, ...]]
"""A field: its name, the types that need no closer look, its default, those of a tuple's items, its alternatives."""
_SCALARS = (str, int, bool, bytes, NoneType, UnsetType)
_DEEPEST = 200
_WORDS = {str: "text", int: "an integer", float: "a number", bool: "True or False", bytes: "bytes"}
_EXAMPLES = {
    "Breaker": "Breaker(failures=5)",
    "Budget": "Budget(usd=5)",
    "Fallback": 'Fallback("groq:qwen3")',
    "Cache": "Cache()",
    "CacheStrategy": "CacheStrategy.system_and_tools() or CacheStrategy.off()",
    "Hedge": "Hedge(after=10)",
    "JSONSchema": "JSONSchema(name, schema)",
    "Message": "Message.user(…)",
    "Limits": "Limits(rpm=60)",
    "Options": "Options(temperature=0)",
    "ProviderOptions": "AnthropicOptions(…)",
    "Reasoning": "Reasoning(budget_tokens=4096)",
    "Retry": "Retry(attempts=5)",
    "Timeouts": "Timeouts(total=30)",
    "Tool": "Tool(name, description, parameters)",
    "ToolChoice": "ToolChoice.tool(name)",
}
_PASSWORD = re.compile(r"//\S*@")


class _Shortened(Repr):
    """Shortens values, after what may be a secret in them is hidden: a wrong value may be a key or a URL with one."""

    def repr_str(self, x: str, level: int) -> str:
        if looks_like_key(x):
            return "'…'"
        text = _PASSWORD.sub("//…@", x)
        return super().repr_str(
            text.partition("?")[0] + "?…" if "//" in text and "?" in text else text, level
        )

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        hidden = {k: "…" if isinstance(k, str) and is_secret_name(k) else v for k, v in x.items()}
        return super().repr_dict(hidden, level)

    def repr_bytes(self, data: bytes, level: int) -> str:
        return f"b{self.repr_str(data.decode('utf-8', 'replace'), level)}"


_shorten = _Shortened()
_shorten.maxstring = _shorten.maxother = 60


copied = methodcaller("__copy__")
"""A copy whose fields are set next, by `force_setattr`, to what was checked before: `replace` checks all again."""


class Checked(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Base of the values that a caller makes."""

    def __post_init__(self) -> None:
        check(self)

    def _is_searched(self) -> bool:
        """Whether what it holds is searched for values that are no JSON."""
        return getattr(self, "origin", None) is None


def check(value: Checked) -> None:
    """Check every field. Raises TypeError for a wrong type, ValueError for a wrong value of the right one."""
    cls = type(value)
    for name, exact, default, items, forms in _RULES.get(cls) or _rules_of(cls):
        given = getattr(value, name)
        kind = type(given)
        if (
            kind in exact
            or given is default
            or (items and kind is tuple and items.issuperset(map(type, given)))
        ):
            continue
        place = name if cls.__name__ in ("Options", "Policies") else f"{cls.__name__}.{name}"
        taken = _fit(given, forms, place, value._is_searched())
        if taken is not given:
            force_setattr(value, name, taken)


def check_json(value: Any, place: str, depth: int = 0) -> bool:
    """Whether it can be encoded as it is; else `plain` makes it so.

    Raises TypeError for what has no form in JSON, ValueError for a number or text that has none.
    """
    is_plain = True
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value, place)
        return type(value) is str or isinstance(value, Enum)
    if isinstance(value, Mapping):
        _check_depth(depth, place)
        for key, inner in value.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise TypeError(f"the keys of {place} are texts, not {shown(key)}")
            is_plain &= check_json(key, f"{place} (a key)")
            inside = f"{place}[{_shorten.repr(key)}]" if depth < 5 else place
            is_plain &= check_json(inner, inside, depth + 1)
        return is_plain and isinstance(value, dict)
    if isinstance(value, (list, tuple)):
        _check_depth(depth, place)
        for index, inner in enumerate(value):
            is_plain &= check_json(inner, f"{place}[{index}]" if depth < 5 else place, depth + 1)
        return is_plain
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} is {value}, which JSON has no form for")
        return type(value) is float
    if isinstance(value, int):
        return type(value) in (int, bool) or isinstance(value, Enum)
    if value is not None:
        try:
            msgspec.json.encode(value)
        except Exception:  # noqa: BLE001 (whatever a foreign object raises)
            raise TypeError(f"{place} takes JSON values, not {shown(value)}") from None
    return True


def encode_unusual(value: Any, place: str) -> bytes:
    """The JSON of what the encoder did not take as it is. Raises TypeError and ValueError as `check_json` does."""
    return msgspec.json.encode(value if check_json(value, place) else plain(value))


def plain(value: Any) -> Any:
    """A JSON value without the subclasses of JSON's types, such as numpy's floats, that an encoder does not take."""
    if isinstance(value, Enum) or type(value) in _SCALARS:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def misfit(place: str, forms: tuple[Any, ...], value: Any) -> TypeError | ValueError:
    """The error for a value that fits none of the forms: what is right, what was given, and what was meant."""
    known = [word for form in forms if get_origin(form) is Literal for word in get_args(form)]
    is_word = bool(known) and isinstance(value, str)
    hint = _near(value, known) if is_word else ""
    if isinstance(value, type) and any(get_origin(form) is Mapping for form in forms):
        hint = f"; of a Pydantic model: {value.__name__}.model_json_schema()"
    if not hint:
        examples = (_EXAMPLES.get(getattr(form, "__name__", "")) for form in forms)
        hint = next((f"; for example {example}" for example in examples if example), "")
    text = f"{place} takes {_words(forms)}, not {shown(value)}{hint}"
    return ValueError(text) if is_word else TypeError(text)


def _near(value: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(value, known, 1)
    return f'; did you mean "{near[0]}"?' if near else ""


def shown(value: Any) -> str:
    """A wrong value, shortened and without secrets, and its type."""
    kind = type(value).__name__
    if value is None or isinstance(value, (bool, type)):
        return _shorten.repr(value)
    text = _shorten.repr(value)
    is_bare = isinstance(value, Struct) or callable(value) or text.startswith("<")
    return f"a {kind}" if is_bare else f"{text} ({kind})"


_RULES: dict[type, tuple[_Rule, ...]] = {}


def _rules_of(cls: type[Struct]) -> tuple[_Rule, ...]:
    hints = get_type_hints(cls)
    fields, defaults = cls.__struct_fields__, cls.__struct_defaults__
    filled = (*[object()] * (len(fields) - len(defaults)), *defaults)
    rules = []
    for name, default in zip(fields, filled, strict=True):
        forms = _forms_of(hints[name])
        items = [_exact(_forms_of(get_args(form)[0])) for form in forms if get_origin(form) is tuple]
        rules.append((name, _exact(forms), default, items[0] if items else frozenset(), forms))
    _RULES[cls] = tuple(rules)
    return _RULES[cls]


def _exact(forms: tuple[Any, ...]) -> frozenset[type]:
    """The types whose values fit without a closer look."""
    return frozenset(f for f in forms if f in _SCALARS or (isinstance(f, type) and issubclass(f, Struct)))


@lru_cache(256)
def _forms_of(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation."""
    if get_origin(annotation) in (Union, UnionType):
        return tuple(form for inner in get_args(annotation) for form in _forms_of(inner))
    return (NoneType if annotation is None else annotation,)


def _fit(value: Any, forms: tuple[Any, ...], place: str, deep: bool) -> Any:
    """The value as the field holds it."""
    for form in forms:
        origin = get_origin(form)
        if form is Any:
            return plain(value) if deep and not check_json(value, place) else value
        if origin is Literal:
            if isinstance(value, str) and value in get_args(form):
                return plain(value)
        elif origin is tuple or origin is Sequence:
            if isinstance(value, (list, tuple)):
                inner = _forms_of(get_args(form)[0])
                taken = tuple(_fit(item, inner, f"{place}[{i}]", deep) for i, item in enumerate(value))
                is_same = origin is Sequence and all(map(operator.is_, taken, value))
                return value if is_same else taken
        elif origin is Mapping:
            if isinstance(value, Mapping):
                return _fit_members(value, get_args(form)[1], place, deep)
        elif form is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                check_json(value, place)
                return plain(value)
        elif isinstance(value, origin or form) and (form is not int or not isinstance(value, bool)):
            return plain(value) if form in _SCALARS else value
    raise misfit(place, forms, value)


def _fit_members(value: Mapping[Any, Any], annotation: Any, place: str, deep: bool) -> Mapping[Any, Any]:
    if deep and not check_json(value, place):
        value = plain(value)
    if annotation is not Any:
        for key, inner in value.items():
            _fit(inner, _forms_of(annotation), f"{place}[{key!r}]", deep)
    return value


def _words(forms: tuple[Any, ...]) -> str:
    """What is right, in words."""
    found: list[str] = []
    for form in forms:
        if get_origin(form) is Literal:
            found += [f'"{word}"' for word in get_args(form)]
        elif form is not UnsetType:
            found.append(_word(form))
    return " or ".join((", ".join(found[:-1]), found[-1])) if len(found) > 1 else found[0]


def _word(form: Any) -> str:
    origin = get_origin(form)
    if origin is Mapping:
        return "a dict"
    if origin is Callable:
        return "a function"
    if origin is not None:
        return f"a list of ({_words(_forms_of(get_args(form)[0]))})"
    name: str = "None" if form is NoneType else form.__name__
    return _WORDS.get(form) or (name if form is NoneType else f"a {name}")


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{place} holds half of a surrogate pair, which is no character and cannot be sent; was a string cut in "
            "the middle of an emoji?"
        ) from None


def _check_depth(depth: int, place: str) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"{place} is nested deeper than {_DEEPEST} levels, or holds itself")
