"""Types that validate themselves: Pydantic's, which exist only where the user's program has imported Pydantic."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from brainwires_provider.types.forms import (
    ALL,
    KINDS,
    SIMPLE,
    Form,
    Problem,
    Schema,
    Writer,
    below,
    refused,
)

__all__ = ["Validated"]

_KIND_OF = {"object": dict, "array": list} | {name: kind for kind, name in KINDS.items()}


class Validated(Form):
    """A type with its own schema and validation: aliases, validators and its treatment of other members hold."""

    def __init__(self, hint: Any, place: str) -> None:
        """Raises TypeError for a type of which Pydantic makes no schema."""
        pydantic: Any = sys.modules["pydantic"]
        try:
            self._adapter = pydantic.TypeAdapter(hint)
            schema = self._adapter.json_schema()
        except Exception as error:  # noqa: BLE001 (Pydantic has several, and the type's own code)
            raise TypeError(f"{place}: Pydantic makes no schema of {hint}: {error}") from None
        self._error: Any = pydantic.ValidationError
        self._defs: Schema = schema.pop("$defs", {})
        root = self._defs[schema.pop("$ref").removeprefix("#/$defs/")] if "$ref" in schema else {}
        self._schema: Schema = {**root, **schema}

    @cached_property
    def takes(self) -> frozenset[type]:  # type: ignore[override]
        """See `Form`."""
        kind = _KIND_OF.get(self._schema.get("type", ""))
        return ALL if kind is None else frozenset((kind, int) if kind is float else (kind,))

    def body(self, writer: Writer) -> Schema:
        """See `Form`."""
        names = {}
        are_known = all(writer.defs.get(name, body) == body for name, body in self._defs.items())
        for name, body in self._defs.items():
            names[name] = name if are_known else writer.free(name)
            writer.defs[names[name]] = body
        changed = {f"#/$defs/{name}": f"#/$defs/{new}" for name, new in names.items() if name != new}
        for name in names.values():
            writer.defs[name] = _renamed(writer.defs[name], changed)
        return dict(_renamed(self._schema, changed))

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        """See `Form`."""
        given = self._without_nulls(value, self._schema)
        try:
            return self._adapter.validate_json(
                msgspec.json.encode(given)
            )  # a strict model takes dates from JSON
        except self._error as error:
            problems += [Problem(_path(path, each["loc"]), each["msg"]) for each in error.errors()]
            return None
        except Exception as error:  # noqa: BLE001 (of the type's own validators)
            return refused(problems, path, self._schema.get("title", "its type"), error)

    def _without_nulls(self, value: Any, schema: Any) -> Any:
        """A value without nulls that stand for defaults, where a service demands every member."""
        schema = self._resolved(schema)
        if isinstance(value, list) and isinstance(items := schema.get("items"), dict):
            return [self._without_nulls(each, items) for each in value]
        if not isinstance(value, dict):
            return value
        forms, required = schema.get("properties", {}), schema.get("required", ())
        return {
            key: self._without_nulls(each, forms.get(key, {}))
            for key, each in value.items()
            if each is not None or key in required or self._takes_null(forms.get(key, {}))
        }

    def _resolved(self, schema: Schema) -> Schema:
        found: Schema = self._defs.get(str(schema.get("$ref", "")).removeprefix("#/$defs/"), schema)
        return found

    def _takes_null(self, schema: Schema) -> bool:
        schema = self._resolved(schema)
        if "anyOf" in schema:
            return any(map(self._takes_null, schema["anyOf"]))
        return bool(schema.get("type", "null") == "null")

    @property
    def fixed(self) -> Mapping[str, frozenset[tuple[type, Any]]]:
        """See `Form`."""
        found = {}
        for key, schema in self._schema.get("properties", {}).items():
            values = [schema["const"]] if "const" in schema else schema.get("enum", ())
            if values and all(type(value) in SIMPLE for value in values):
                found[key] = frozenset((type(value), value) for value in values)
        return found

    @property
    def keys(self) -> frozenset[str] | None:
        """See `Form`."""
        properties = self._schema.get("properties")
        return None if properties is None else frozenset(properties)


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(each, names) for each in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: _renamed(each, names) for key, each in node.items()}
    if isinstance(ref := node.get("$ref"), str):
        renamed["$ref"] = names.get(ref, ref)
    return renamed


def _path(path: str, places: tuple[int | str, ...]) -> str:
    for place in places:
        path = f"{path}[{place}]" if isinstance(place, int) else below(path, place)
    return path
