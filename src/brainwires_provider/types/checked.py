"""Checks the fields of a value against their annotations when it is made.

A wrong type, an unknown word, or something that is no JSON raises an error that names the field, what was given, and
what is right, in the line that gave it and not where a request is encoded. Bool is no integer, an integer is a number,
a list is taken where a tuple is kept. What a decoder made has an origin: its JSON came from JSON, and is not searched.
The arguments of public methods are checked in the same way, against the annotations of the method (`checks_calls`).
"""

from __future__ import annotations

import math
import operator
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache, wraps
from importlib import import_module
from operator import methodcaller
from reprlib import Repr
from types import FunctionType, NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct, UnsetType
from msgspec.structs import force_setattr

from brainwires_provider.types.suspects import is_secret_name, looks_like_key

__all__ = [
    "Checked",
    "Setting",
    "check",
    "check_call",
    "check_json",
    "checks_calls",
    "copied",
    "encode_unusual",
    "misfit",
    "plain",
    "shown",
]

_Class = TypeVar("_Class", bound=type)

_Rule: TypeAlias = tuple[str, frozenset[type], Any, frozenset[type], tuple[Any, ...]]
"""A field: its name, the types that need no closer look, its default, those of a tuple's items, its alternatives."""
_SCALARS = (str, int, bool, bytes, NoneType, UnsetType)
_DEEPEST = 200
_IS_COROUTINE = 0x80  # inspect.CO_COROUTINE
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
_OF_SECRETS = re.compile(r"(^|\.|_)(api_key|headers|credentials|access_key|secret_key|session_token)\b")
"""The places of values that are not shown, whatever they are."""
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


class Setting(Checked, frozen=True, omit_defaults=False, repr_omit_defaults=False, gc=True):
    """Base of the values that set up a client: they are not sent, and may hold functions."""

    def _is_searched(self) -> bool:
        return False


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


def checks_calls(cls: _Class) -> _Class:
    """A class whose public methods check their arguments, also those that a later one adds.

    What takes nothing but `input`, `output` and the keywords of a chat is left as it is: a request is made of these,
    and checks them.
    """
    for name, method in list(vars(cls).items()):
        if not isinstance(method, FunctionType) or name.startswith("_"):
            continue
        if not method.__annotations__.keys() <= {"input", "output", "args", "return"}:
            setattr(cls, name, _checking(method))
    return cls


def _checking(method: FunctionType) -> Callable[..., Any]:
    names = method.__code__.co_varnames[1 : method.__code__.co_argcount]

    def taken(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if len(args) > len(names) or not kwargs.keys().isdisjoint(names[: len(args)]):
            method(None, *args, **kwargs)  # raises: they are no arguments of it
        return check_call(method, dict(zip(names, args, strict=False)) | kwargs)

    @wraps(method)
    async def awaited(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await method(self, **(taken(args, kwargs) if args or kwargs else kwargs))

    @wraps(method)
    def called(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return method(self, **(taken(args, kwargs) if args or kwargs else kwargs))

    return awaited if method.__code__.co_flags & _IS_COROUTINE else called


def check_call(function: Any, given: Mapping[str, Any], **later: str) -> dict[str, Any]:
    """The arguments of a call as the function takes them, each checked against its annotation.

    What is given as its own default is not looked at; `later` are the modules of names that only annotations use. What
    can be iterated once is made a tuple. Raises as `check` does.
    """
    taken = dict(given)
    annotations = function.__annotations__
    defaults = _defaults_of(function)
    for name, value in given.items():
        annotation = annotations.get(name, "Any")
        if (
            (name in defaults and value is defaults[name])
            or annotation == "Any"
            or annotation[:7] == "Unpack["
        ):
            continue
        forms = _forms_of(_type_of(annotation, function.__module__, tuple(later.items())))
        if Any not in forms:
            taken[name] = _fit(value, forms, name, True)
    return taken


@lru_cache(256)
def _defaults_of(function: Any) -> dict[str, Any]:
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    return {**dict(zip(names, values, strict=True)), **(function.__kwdefaults__ or {})}


@lru_cache(512)
def _type_of(annotation: str, module: str, later: tuple[tuple[str, str], ...]) -> Any:
    names = {name: getattr(import_module(place), name) for name, place in later if name in annotation}
    one = SimpleNamespace(__annotations__={"one": annotation})
    try:
        return get_type_hints(one, vars(sys.modules[module]), names)["one"]
    except NameError:
        return Any  # of a module that is loaded later, and checks it


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
    is_secret = _OF_SECRETS.search(place) and not isinstance(value, (int, float, NoneType))
    what = f"a {type(value).__name__}" if is_secret else shown(value)
    text = f"{place} takes {_words(forms)}, not {what}{hint}"
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


_UNFIT: Any = object()
_CONTAINERS: Mapping[Any, Any] = {
    Mapping: Mapping,
    tuple: (list, tuple),
    Sequence: (list, tuple),
    Iterable: Iterable,
}
"""What is taken for a container of each kind."""
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
        elif origin in _CONTAINERS:
            if isinstance(value, _CONTAINERS[origin]):
                taken = _fit_items(value, origin, get_args(form), place, deep)
                if taken is not _UNFIT:
                    return taken
        elif _is_of(value, origin or form):
            if form is float and deep:
                check_json(value, place)
            return plain(value) if form in _SCALARS or form is float else value
    raise misfit(place, forms, value)


def _is_of(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if getattr(kind, "_is_protocol", False):
        names = [*vars(kind), *kind.__annotations__]
        return all(hasattr(value, name) for name in names if not name.startswith("_"))
    return isinstance(value, kind) and (kind is not int or not isinstance(value, bool))


def _fit_items(value: Any, origin: Any, of: tuple[Any, ...], place: str, deep: bool) -> Any:
    if origin is Mapping:
        return _fit_members(value, of, place, deep)
    if origin is tuple and of[-1] is not ...:
        if len(value) != len(of):
            return _UNFIT
        pairs = enumerate(zip(value, of, strict=True))
        return tuple(_fit(item, _forms_of(each), f"{place}[{i}]", deep) for i, (item, each) in pairs)
    if origin is Iterable and isinstance(value, (str, bytes, Mapping)):
        return _UNFIT
    inner = _forms_of(of[0])
    taken = tuple(_fit(item, inner, f"{place}[{i}]", deep) for i, item in enumerate(value))
    return value if origin is Sequence and all(map(operator.is_, taken, value)) else taken


def _fit_members(
    value: Mapping[Any, Any], annotations: tuple[Any, ...], place: str, deep: bool
) -> Mapping[Any, Any]:
    of_key, annotation = annotations
    if deep and not check_json(value, place):
        value = plain(value)
    if not deep or annotation is str:  # headers and queries are no JSON, where numbers become texts
        for key in value:
            _fit(key, _forms_of(of_key), f"{place} (a key)", deep)
    if annotation is not Any:
        for key, inner in value.items():
            _fit(inner, _forms_of(annotation), f"{place}[{_shorten.repr(key)}]", deep)
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
    if origin is tuple and get_args(form)[-1] is not ...:
        return f"a tuple of {len(get_args(form))}"
    if origin in (tuple, list, Sequence, Iterable):
        return f"a list of ({_words(_forms_of(get_args(form)[0]))})"
    name: str = "None" if form is NoneType else (origin or form).__name__
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
