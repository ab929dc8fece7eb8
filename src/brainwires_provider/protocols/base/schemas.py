"""Compiles JSON Schema to Google's own dialect, a subset of OpenAPI's, for models that know no other.

Total: every value compiles, whatever it is, and every keyword ends as sent, as changed (said in another way), or as
lost (unknown to the model, so check the answer). References are put in place; what refers to itself is cut off.
Reference: the API reference of `Schema`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

__all__ = ["NOTES", "Compiled", "Compiler", "Schema", "compile_schema", "target_of"]

_MAX_DEPTH = 48
_MAX_NODES = 5000
_TYPES = frozenset(("string", "number", "integer", "boolean", "array", "object"))
_FORMATS = {
    "string": frozenset(("date-time", "enum")),
    "integer": frozenset(("int32", "int64")),
    "number": frozenset(("float", "double")),
}
NOTES = frozenset(
    ("$schema", "$id", "id", "$comment", "$anchor", "$vocabulary", "readOnly", "writeOnly", "deprecated")
)
_WORDS = NOTES | {"title", "description", "default", "examples"}
"""Keywords that limit no value."""
_MERGED_DEPTH = 16
Schema = dict[str, Any]


class Compiled(Struct, frozen=True):
    """A schema in Google's dialect. `changed` and `lost` say what became of the rest, each `path: what`."""

    schema: Schema
    changed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    refused: str | None = None
    """Why the service would refuse it in any form."""
    is_weaker: bool = False
    """It lets something through that was not allowed: a limit that is only described."""


def compile_schema(schema: Any) -> Compiled:
    """Never fails: what has no place is in `lost`."""
    compiler = _Google(schema)
    try:
        made = compiler.node(schema, "$", ())
    except RecursionError:
        return Compiled({}, (), ("$: nested too deeply",))
    changed, lost = tuple(dict.fromkeys(compiler.changed)), tuple(dict.fromkeys(compiler.lost))
    return Compiled(made, changed, lost, is_weaker=compiler.is_weaker)


class Compiler(ABC):
    """What every dialect shares: references, `allOf`, limits of size, and the notes on what became of a schema."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._nodes = 0
        self.changed: list[str] = []
        self.lost: list[str] = []
        self.is_weaker = False

    def change(self, path: str, what: str) -> None:
        """Note what is said in another way."""
        self.changed.append(f"{path}: {what}")

    def lose(self, path: str, what: str) -> None:
        """Note what the dialect cannot express."""
        self.lost.append(f"{path}: {what}")

    def node(self, schema: Any, path: str, seen: tuple[str, ...], depth: int = 0) -> Schema:
        """One schema. `seen` are the references that led here."""
        self._nodes += 1
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            self.lose(path, "too large a schema: cut off here")
            return {}
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            self.lose(path, "nothing is allowed here" if schema is False else "not a schema")
            return {}
        return self.compiled(dict(schema), path, seen, depth)

    @abstractmethod
    def compiled(self, schema: Schema, path: str, seen: tuple[str, ...], depth: int) -> Schema:
        """One schema in this dialect."""

    # -- references and allOf --------------------------------------------------------------------------------

    def resolved(self, schema: Schema, path: str, seen: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """The schema with what it refers to put in its place; its own keywords win."""
        while "$ref" in schema:
            ref = schema.pop("$ref")
            if not isinstance(ref, str) or ref in seen:
                self.lose(path, f"$ref {ref!r}, which refers to itself" if ref in seen else "$ref")
                break
            target = target_of(self._root, ref)
            if not isinstance(target, Mapping):
                if target is not True:
                    self.lose(path, f"$ref {ref!r}, which is not in the schema")
                break
            seen = (*seen, ref)
            for name in target.keys() & schema.keys() - {"$defs", "definitions"}:
                if target[name] != schema[name] and name not in _WORDS:
                    self.lose(path, f"{name} of {ref!r}, which stands beside the reference too")
            schema = {**target, **schema}
        return schema, seen

    def all_of(self, schema: Schema, path: str, seen: tuple[str, ...], depth: int = 0) -> Schema:
        """One schema for all: keywords that say different things are lost but for the first."""
        branches = schema.pop("allOf")
        self._nodes += 1
        if not isinstance(branches, list) or depth > _MERGED_DEPTH or self._nodes > _MAX_NODES:
            self.lose(path, "allOf")
            return schema
        self.change(path, "allOf is merged")
        for index, branch in enumerate(branches):
            if branch is True:
                continue
            if not isinstance(branch, Mapping):
                self.lose(path, f"allOf[{index}]")
                continue
            other, inner = self.resolved(dict(branch), f"{path}.allOf[{index}]", seen)
            if "allOf" in other:
                other = self.all_of(other, path, inner, depth + 1)
            self._merge(schema, other, f"{path}.allOf[{index}]")
        return schema

    def _merge(self, schema: Schema, other: Schema, path: str) -> None:
        for name, value in other.items():
            known: Any = schema.get(name)
            if name not in schema or known == value:
                schema[name] = value
            elif name in ("properties", "$defs", "definitions") and _are(dict, known, value):
                for key in known.keys() & value.keys():
                    if known[key] != value[key]:
                        self.lose(f"{path}.{name}.{key}", "said in another way before")
                schema[name] = {**value, **known}
            elif name == "required" and _are(list, known, value):
                schema[name] = [*known, *(v for v in value if v not in known)]
            elif name in _WORDS:
                self.change(path, f"{name} is left out: one is said already")
            else:
                self.lose(path, f"{name}, of which something else is said already")


def target_of(root: Any, ref: str) -> Any:
    """What a reference within the schema points to; None for any other."""
    if not ref.startswith("#"):
        return None
    place = root
    for step in filter(None, unquote(ref[1:]).split("/")):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping):
            place = place.get(name)
        elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            place = place[int(name)]
        else:
            return None
    return place


class _Google(Compiler):
    def compiled(self, schema: Schema, path: str, seen: tuple[str, ...], depth: int) -> Schema:
        """One schema, its references put in place."""
        schema, seen = self.resolved(schema, path, seen)
        if "allOf" in schema:
            schema = self.all_of(schema, path, seen)
        return _Node(self, schema, path, seen, depth).compiled()


class _Node:
    """One schema without references: `out` grows by each keyword."""

    def __init__(
        self, compiler: Compiler, schema: Schema, path: str, seen: tuple[str, ...], depth: int
    ) -> None:
        self._compiler = compiler
        self._schema = schema
        self._path = path
        self._seen = seen
        self._depth = depth
        self._out: Schema = {}

    def compiled(self) -> Schema:
        self._type()
        if "anyOf" not in self._out:
            self._infer()
        for name, value in self._schema.items():
            handler = _HANDLERS.get(name)
            if handler is not None:
                handler(self, name, value)
            elif name in NOTES:
                self._change(f"{name} is left out: it says nothing of the shape")
            elif name not in ("type", "$defs", "definitions"):
                self._lose(name)
        self._complete()
        return self._out

    def _change(self, what: str) -> None:
        self._compiler.change(self._path, what)

    def _lose(self, what: str) -> None:
        self._compiler.lose(self._path, what)

    def _sub(self, schema: Any, step: str) -> Schema:
        return self._compiler.node(schema, self._path + step, self._seen, self._depth + 1)

    # -- type ------------------------------------------------------------------------------------------------

    def _type(self) -> None:
        told = self._schema.get("type")
        if told is None:
            if "type" in self._schema:
                self._lose("type")
            return
        types = told if isinstance(told, list) else [told]
        known = [t.lower() for t in types if isinstance(t, str) and t.lower() in _TYPES]
        is_null = any(isinstance(t, str) and t.lower() == "null" for t in types)
        if len(known) + is_null < len(types) or not types:
            self._lose(f"type {told!r}" if len(repr(told)) < 60 else "type")
        if is_null and known:
            self._out["nullable"] = True
            self._change("null is said by nullable")
        elif is_null:
            self._out["type"] = "NULL"
        if len(known) == 1:
            self._out["type"] = known[0].upper()
        elif known:
            self._alternatives(known)

    def _alternatives(self, types: list[str]) -> None:
        """Several types: one alternative for each, with the keywords that are about it."""
        if "anyOf" in self._schema or "oneOf" in self._schema:
            self._lose(f"type {types!r} beside anyOf")
            return
        self._change("several types are said by anyOf")
        listed = self._schema.pop("enum", None)
        if not isinstance(listed, list):
            self._put_back("enum", listed)
        branches = []
        for kind in dict.fromkeys(types):
            about = {
                k: v for k, v in self._schema.items() if _ABOUT.get(k) in (kind, _NUMBERS.get(kind, kind))
            }
            if isinstance(listed, list):
                about["enum"] = [
                    v for v in listed if _TYPE_OF.get(type(v)) in (kind, _NUMBERS.get(kind, kind))
                ]
                if not about["enum"]:
                    continue
            branches.append(self._sub({"type": kind, **about}, ""))
        told = {*types, *(_NUMBERS[kind] for kind in types if kind in _NUMBERS)}
        for name in [k for k in self._schema if _ABOUT.get(k) in told]:
            del self._schema[name]
        if isinstance(listed, list):
            self._rest_of_enum(listed, told)
        if branches:
            self._out["anyOf"] = branches

    def _put_back(self, name: str, value: Any) -> None:
        if value is not None:
            self._schema[name] = value

    def _rest_of_enum(self, listed: list[Any], told: set[str]) -> None:
        """What of an enum is of none of the types."""
        if None in listed:
            self._out["nullable"] = True
        if any(v is not None and _TYPE_OF.get(type(v)) not in told for v in listed):
            self._lose("enum: values of a type that is not among the types")

    def _infer(self) -> None:
        """The dialect wants a type wherever a keyword is about one."""
        if "type" in self._out:
            return
        kinds = {_ABOUT.get(name) for name in self._schema} - {None}
        for kind, names in (
            ("object", "object"),
            ("array", "array"),
            ("string", "string"),
            ("number", "numbers"),
        ):
            if names in kinds:
                self._out["type"] = kind.upper()
                self._change(f"type {kind} is told by its keywords")
                return

    # -- keywords --------------------------------------------------------------------------------------------

    def _text(self, name: str, value: Any) -> None:
        if isinstance(value, str):
            self._out[name] = value
        else:
            self._lose(name)

    def _any(self, name: str, value: Any) -> None:
        self._out[name] = value

    def _flag(self, name: str, value: Any) -> None:
        if isinstance(value, bool):
            self._out[name] = value or self._out.get(name, False)
        else:
            self._lose(name)

    def _size(self, name: str, value: Any) -> None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is int and value >= 0:
            self._out[name] = value
        else:
            self._lose(name)

    def _number(self, name: str, value: Any) -> None:
        if type(value) in (int, float):
            self._out[name] = value
        else:
            self._lose(name)

    def _bound(self, name: str, value: Any) -> None:
        """An exclusive bound: exact for integers, one too many for numbers."""
        plain, step = ("minimum", 1) if name == "exclusiveMinimum" else ("maximum", -1)
        if type(value) not in (int, float) or plain in self._schema:
            self._lose(name)
        elif self._out.get("type") == "INTEGER" and type(value) is int:
            self._out[plain] = value + step
            self._change(f"{name} {value} is said by {plain}")
        else:
            self._out[plain] = value
            self._lose(f"{name}: {value} itself is let through")

    def _format(self, name: str, value: Any) -> None:
        kind = str(self._out.get("type", "")).lower()
        if isinstance(value, str) and value in _FORMATS.get(kind, ()):
            self._out[name] = value
        else:
            self._lose(f"{name} {value!r}" if isinstance(value, str) and len(value) < 40 else name)

    def _examples(self, name: str, value: Any) -> None:
        if isinstance(value, list) and value and "example" not in self._schema:
            self._out["example"] = value[0]
            self._change("of examples the first is sent")
        else:
            self._change("examples is left out")

    def _enum(self, name: str, value: Any) -> None:
        """Only texts can be listed; whole numbers are, as the dialect has it, listed as texts too."""
        values = [value] if name == "const" else value
        if not isinstance(values, list) or (name == "const" and "enum" in self._schema):
            self._lose(name)
            return
        if None in values and self._out.get("type") != "NULL":
            self._out["nullable"] = True
            self._change("null is said by nullable")
        rest = [v for v in values if v is not None]
        if not rest:
            if not values or self._out.get("type") != "NULL":
                self._lose(name)
            return
        kind = self._out.get("type")
        if all(isinstance(v, str) for v in rest) and kind in (None, "STRING"):
            self._out |= {"type": "STRING", "enum": rest}
        elif all(type(v) is int for v in rest) and kind in (None, "INTEGER"):
            self._out |= {"type": "INTEGER", "enum": [str(v) for v in rest]}
            self._change(f"the numbers of {name} are listed as texts")
        else:
            self._lose(name)
            return
        self._out["format"] = "enum"
        if name == "const":
            self._change("const is said by enum")

    def _properties(self, name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            self._lose(name)
            return
        self._out[name] = {str(key): self._sub(sub, f".{key}") for key, sub in value.items()}

    def _required(self, name: str, value: Any) -> None:
        properties = self._schema.get("properties")
        listed = value if isinstance(value, list) else [value]
        known = [
            v for v in listed if isinstance(v, str) and isinstance(properties, Mapping) and v in properties
        ]
        if len(known) < len(listed) or not isinstance(value, list):
            self._lose(f"{name}: {[v for v in listed if v not in known]!r}, of which there is no property")
        if known:
            self._out[name] = known
        elif value == []:
            self._change("required is left out: it is empty")

    def _ordering(self, name: str, value: Any) -> None:
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            self._out[name] = value
        else:
            self._lose(name)

    def _items(self, name: str, value: Any) -> None:
        if isinstance(value, list):
            self._tuple(name, value)
        elif "prefixItems" in self._schema:
            self._lose("items beside prefixItems")
        else:
            self._out[name] = self._sub(value, "[]")

    def _tuple(self, name: str, value: Any) -> None:
        """Places of their own are lost: each item may be what any of them is."""
        self._lose(f"{name}: which item is which")
        if isinstance(value, list) and value:
            kinds = [self._sub(each, f"[{index}]") for index, each in enumerate(value)]
            self._out["items"] = kinds[0] if all(k == kinds[0] for k in kinds) else {"anyOf": kinds}

    def _alternative(self, name: str, value: Any) -> None:
        """anyOf and oneOf. Null among them is nullable; a single one left is put in place."""
        if not isinstance(value, list) or not value or (name == "oneOf" and "anyOf" in self._schema):
            self._lose(name)
            return
        if name == "oneOf":
            self._change("oneOf is said by anyOf")
            self._compiler.is_weaker = True  # its alternatives do not exclude each other
        branches = [branch for branch in value if not _is_null(branch)]
        if len(branches) < len(value):
            self._out["nullable"] = True
            self._change("null is said by nullable")
        made = [self._sub(branch, f".{name}[{index}]") for index, branch in enumerate(branches)]
        if len(made) == 1 and made[0].keys().isdisjoint(
            self._out.keys() | self._schema.keys() - {"nullable"}
        ):
            self._out |= made[0]
        elif made:
            self._out["anyOf"] = made

    def _complete(self) -> None:
        if self._out.get("type") == "ARRAY" and "items" not in self._out:
            self._out["items"] = {"type": "STRING"}
            self._lose("an array must say its items: they are said to be texts")


def _is_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    return (
        schema.get("type") in ("null", ["null"]) and schema.keys() <= {"type", "title", "description"}
    ) or ("const" in schema and schema["const"] is None and len(schema) == 1)


def _are(kind: type[Any], *values: Any) -> bool:
    return all(isinstance(value, kind) for value in values)


_HANDLERS: dict[str, Callable[[_Node, str, Any], None]] = {
    "title": _Node._text,
    "description": _Node._text,
    "pattern": _Node._text,
    "default": _Node._any,
    "example": _Node._any,
    "examples": _Node._examples,
    "nullable": _Node._flag,
    "format": _Node._format,
    "enum": _Node._enum,
    "const": _Node._enum,
    "minimum": _Node._number,
    "maximum": _Node._number,
    "exclusiveMinimum": _Node._bound,
    "exclusiveMaximum": _Node._bound,
    "minLength": _Node._size,
    "maxLength": _Node._size,
    "minItems": _Node._size,
    "maxItems": _Node._size,
    "minProperties": _Node._size,
    "maxProperties": _Node._size,
    "properties": _Node._properties,
    "required": _Node._required,
    "propertyOrdering": _Node._ordering,
    "items": _Node._items,
    "prefixItems": _Node._tuple,
    "anyOf": _Node._alternative,
    "oneOf": _Node._alternative,
}

_NUMBERS = {"number": "numbers", "integer": "numbers"}
_TYPE_OF = {str: "string", bool: "boolean", int: "numbers", float: "numbers", list: "array", dict: "object"}
_ABOUT = {
    "properties": "object",
    "required": "object",
    "propertyOrdering": "object",
    "minProperties": "object",
    "maxProperties": "object",
    "additionalProperties": "object",
    "patternProperties": "object",
    "propertyNames": "object",
    "dependentRequired": "object",
    "dependentSchemas": "object",
    "unevaluatedProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "maxItems": "array",
    "uniqueItems": "array",
    "contains": "array",
    "unevaluatedItems": "array",
    "minLength": "string",
    "maxLength": "string",
    "pattern": "string",
    "minimum": "numbers",
    "maximum": "numbers",
    "exclusiveMinimum": "numbers",
    "exclusiveMaximum": "numbers",
    "multipleOf": "numbers",
}
