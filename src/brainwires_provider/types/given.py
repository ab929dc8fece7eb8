"""A JSON Schema that was given, as a form: values stay JSON, and are checked by the schema's keywords.

Of JSON Schema 2020-12, what is said of a value itself, with references within the schema. `format`, `unevaluated…`,
`$dynamicRef`, `content…` and keywords that are not known are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from brainwires_provider.types.forms import (
    Form,
    Problem,
    Problems,
    Schema,
    Writer,
    below,
    either,
    refuse,
    shown,
)

__all__ = ["Given", "members_of", "referred"]

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_Check = Callable[[Any, Any], bool]
_LIMITS: Mapping[str, tuple[str, _Check, str]] = {
    "minimum": ("number", lambda value, limit: value >= limit, "must be at least {}"),
    "maximum": ("number", lambda value, limit: value <= limit, "must be at most {}"),
    "exclusiveMinimum": ("number", lambda value, limit: value > limit, "must be above {}"),
    "exclusiveMaximum": ("number", lambda value, limit: value < limit, "must be below {}"),
    "multipleOf": (
        "number",
        lambda value, limit: _decimal(value) % _decimal(limit) == 0,
        "must be a multiple of {}",
    ),
    "minLength": ("string", lambda value, limit: len(value) >= limit, "must have at least {} characters"),
    "maxLength": ("string", lambda value, limit: len(value) <= limit, "must have at most {} characters"),
    "pattern": ("string", lambda value, limit: re.search(limit, value) is not None, "must match {}"),
    "minItems": ("array", lambda value, limit: len(value) >= limit, "must have at least {} items"),
    "maxItems": ("array", lambda value, limit: len(value) <= limit, "must have at most {} items"),
    "uniqueItems": (
        "array",
        lambda value, limit: limit is not True or len(set(map(_key, value))) == len(value),
        "must have no item twice",
    ),
    "minProperties": ("object", lambda value, limit: len(value) >= limit, "must have at least {} members"),
    "maxProperties": ("object", lambda value, limit: len(value) <= limit, "must have at most {} members"),
}


class Given(Form):
    """A schema's own values. A keyword whose value makes no sense is not checked."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        return dict(self._schema)

    def convert(self, value: Any, path: str, problems: Problems) -> Any:
        """See `Form`."""
        self._check(value, self._schema, path, problems)
        return value

    def _check(self, value: Any, schema: Any, path: str, problems: Problems) -> None:
        if schema is False:
            problems.append(Problem(path, "does not exist"))
        if not isinstance(schema, Mapping):
            return
        if "$ref" in schema:
            self._check(value, referred(self._schema, schema["$ref"]), path, problems)
        wanted = schema.get("type")
        kinds = [wanted] if isinstance(wanted, str) else wanted or []
        if kinds and not any(_is(value, kind) for kind in kinds):
            refuse(problems, path, f"of the type {either(kinds)}", value)
            return
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
        if listed is not None and not any(_same(value, each) for each in listed):
            refuse(problems, path, either(map(shown, listed)), value)
        for keyword, (kind, is_fit, words) in _LIMITS.items():
            if keyword in schema and _is(value, kind) and not _fits(is_fit, value, schema[keyword]):
                problems.append(Problem(path, f"{words.format(schema[keyword])}: {shown(value)}"))
        if isinstance(value, dict):
            self._check_members(value, schema, path, problems)
        elif isinstance(value, list):
            self._check_items(value, schema, path, problems)
        self._check_alternatives(value, schema, path, problems)

    def _trial(self, value: Any, schema: Any, path: str) -> Problems:
        """What is wrong with a value by another schema."""
        found: Problems = []
        self._check(value, schema, path, found)
        return found

    def _check_items(
        self, value: list[Any], schema: Mapping[str, Any], path: str, problems: Problems
    ) -> None:
        first = schema.get("prefixItems", ())
        for at, each in enumerate(value):
            form = first[at] if at < len(first) else schema.get("items")
            self._check(each, form, f"{path}[{at}]", problems)
        if "contains" in schema:
            count = sum(not self._trial(each, schema["contains"], path) for each in value)
            least, most = schema.get("minContains", 1), schema.get("maxContains", count)
            if not least <= count <= most:
                words = f"at least {least}" if count < least else f"at most {most}"
                problems.append(Problem(path, f'must have {words} items that fit "contains", not {count}'))

    def _check_members(
        self, value: Mapping[str, Any], schema: Mapping[str, Any], path: str, problems: Problems
    ) -> None:
        depending = schema.get("dependentRequired", {}).items()
        needed = (
            *schema.get("required", ()),
            *(name for key, more in depending if key in value for name in more),
        )
        problems += [Problem(below(path, key), "is missing") for key in needed if key not in value]
        for key, each in value.items():
            for form in members_of(schema, key):
                self._check(each, form, below(path, key), problems)
            for wrong in self._trial(key, schema.get("propertyNames"), ""):
                problems.append(Problem(below(path, key), f"as a key {wrong.message}"))
        for key, form in schema.get("dependentSchemas", {}).items():
            self._check(value, form if key in value else None, path, problems)

    def _check_alternatives(
        self, value: Any, schema: Mapping[str, Any], path: str, problems: Problems
    ) -> None:
        for each in schema.get("allOf", ()):
            self._check(value, each, path, problems)
        for keyword in ("anyOf", "oneOf"):
            if keyword not in schema:
                continue
            trials = [self._trial(value, each, path) for each in schema[keyword]]
            fitting = sum(not trial for trial in trials)
            if not fitting:
                nearest = min(trials, key=len)
                problems += nearest
            elif fitting > 1 and keyword == "oneOf":
                problems.append(Problem(path, f"fits {fitting} alternatives, and must fit one"))
        if "not" in schema and not self._trial(value, schema["not"], path):
            problems.append(Problem(path, f"must not be what is excluded: {shown(value)}"))
        if "if" in schema:
            branch = "else" if self._trial(value, schema["if"], path) else "then"
            self._check(value, schema.get(branch), path, problems)


def referred(schema: Any, ref: str) -> Any:
    """What a reference within a schema leads to; True, so anything, for another."""
    for step in ref.removeprefix("#").strip("/").split("/") if ref.strip("#/") else ():
        word = unquote(step).replace("~1", "/").replace("~0", "~")
        schema = schema.get(word, True) if isinstance(schema, Mapping) else True
    return schema


def members_of(schema: Mapping[str, Any], key: str) -> list[Any]:
    """The schemas of an object's member of this name."""
    forms = schema.get("properties", {})
    own = [forms[key]] if key in forms else []
    own += [form for pattern, form in schema.get("patternProperties", {}).items() if _matches(pattern, key)]
    return own or [schema.get("additionalProperties", True)]


def _fits(is_fit: _Check, value: Any, limit: Any) -> bool:
    try:
        return is_fit(value, limit)
    except (TypeError, ValueError, ArithmeticError, re.error):
        return True


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS.get(kind, (object,)))


def _same(value: Any, other: Any) -> bool:
    return bool(_key(value) == _key(other))


def _key(value: Any) -> Any:
    """What is equal for values that JSON Schema takes for equal: 1 and 1.0, not 1 and true."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_key, value))
    if isinstance(value, Mapping):
        return frozenset((name, _key(each)) for name, each in value.items())
    return (isinstance(value, bool), value)


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _decimal(number: Any) -> Decimal:
    return Decimal(str(number))  # 19.99 is a multiple of 0.01 as both are written
