"""Subsets of JSON Schema that services demand: each is a pass of the compiler, by the rules of its `Dialect`.

A pass keeps the schema's shape. A limit that the service refuses is put into the description, where the model reads
it; an object is closed where that is demanded. Google's dialect, which is no JSON Schema, is `schemas.compile_schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.schemas import NOTES, Compiled, Compiler, Schema, target_of

__all__ = [
    "CLAUDE",
    "DIALECTS",
    "JSON_WORDS",
    "Dialect",
    "conform",
    "conformed",
    "holds_json_word",
    "report_schema",
]

_MOST_REPORTED = 8
_ANNOTATIONS = frozenset(("default", "discriminator", "example", "examples", "propertyOrdering"))


class Dialect(Struct, frozen=True, cache_hash=True):
    """What one service takes of JSON Schema. `limits` None: every keyword."""

    name: str
    link: str
    checked: str
    closed: bool = True
    """Demands `additionalProperties: false` of every object."""
    all_required: bool = False
    """Demands that every property is required."""
    limits: frozenset[str] | None = None
    """The keywords that it takes besides those of a schema's shape."""
    formats: frozenset[str] | None = None
    """The values of `format` that it takes, where `limits` are given."""
    few_items: bool = False
    """Takes `minItems` of 0 and 1."""
    one_type: bool = False
    """Takes one type in `type`; several are alternatives."""
    recursive: bool = True
    """Takes a schema that refers to itself."""
    maps: bool = True
    """A schema of an object with any members is of use without them."""


_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))
CLAUDE = Dialect(
    "Claude",
    "https://platform.claude.com/docs/en/build-with-claude/structured-outputs",
    "2026-11-29",
    limits=frozenset(),
    formats=_FORMATS | {"uri"},
    few_items=True,
    one_type=True,
    recursive=False,
    maps=False,
)
"""For outputs and strict tools. Anthropic's own SDK puts the same limits into descriptions."""
DIALECTS: Mapping[str, Dialect] = {
    "openai": Dialect(
        "OpenAI",
        "https://platform.openai.com/docs/guides/structured-outputs",
        "2026-11-29",
        all_required=True,
        limits=frozenset(
            (
                *("pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
                *("minItems", "maxItems"),
            )
        ),
        formats=_FORMATS,
    ),
    "groq": Dialect(
        "Groq", "https://console.groq.com/docs/structured-outputs", "2026-11-29", all_required=True
    ),
    "mistral": Dialect("Mistral", "https://github.com/BerriAI/litellm/pull/13389", "2026-11-29"),
    "mistral, not strict": Dialect(
        "Mistral", "https://github.com/BerriAI/litellm/pull/13389", "2026-11-29", closed=False
    ),
}
"""For strict schemas, by the name in a protocol's quirks; Mistral refuses some notes in any schema."""

_SHAPE = frozenset(
    ("type", "enum", "const", "$ref", "title", "description", "required", "additionalProperties")
)
_BRANCHES = ("anyOf", "oneOf", "allOf")
_BESIDE_REF = frozenset(("$ref", "$defs", "definitions"))
_NAMED = ("properties", "$defs", "definitions")


def conform(schema: Any, dialect: Dialect) -> Compiled:
    """A schema in a dialect. Never fails: what has no place is in `lost`.

    What becomes of a `FixedSchema` is kept with it.
    """
    kept: dict[Dialect, Compiled] = getattr(schema, "kept", {})
    made = kept.get(dialect)
    if made is None:
        made = kept[dialect] = _conform(schema, dialect)
    return made


def _conform(schema: Any, dialect: Dialect) -> Compiled:
    compiler = _Pass(schema, dialect)
    try:
        made = compiler.node(schema, "$", ())
    except RecursionError:
        return Compiled({}, (), ("$: nested too deeply",))
    changed, lost = tuple(dict.fromkeys(compiler.changed)), tuple(dict.fromkeys(compiler.lost))
    refused = None
    if compiler.has_map and not dialect.maps:
        refused = "it has an object of any members, of which a strict schema leaves none"
    elif not dialect.recursive and _refers_to_itself(made):
        refused = "a strict schema cannot refer to itself"
    return Compiled(made, changed, lost, refused, compiler.is_weaker)


def conformed(reader: OptionReader, field: str, schema: Any, dialect: Dialect | None) -> Any:
    """A schema in a dialect, with what was changed and lost on the report; as it is without a dialect.

    None where the service would refuse it in any form: nothing is reported then.
    """
    if dialect is None:
        return schema
    made = conform(schema, dialect)
    if made.refused is not None:
        return None
    if made.changed or made.lost:
        report_schema(reader, field, made, dialect.name)
    return made.schema


def report_schema(reader: OptionReader, field: str, made: Compiled, name: str) -> None:
    """Put what a compilation changed and lost on the report of `field`."""
    if made.changed:
        if made.is_weaker:
            reader.weaken(
                field, f"in {name}'s schema dialect, not all of it binding: {_listed(made.changed)}"
            )
        else:
            reader.adapted(field, f"expressed in {name}'s schema dialect: {_listed(made.changed)}")
    if made.lost:
        reader.dropped(field, f"{name}'s schema dialect cannot express: {_listed(made.lost)}")


JSON_WORDS = "Answer with one JSON object and nothing else."
"""The instruction for an answer in JSON, with the word that services look for."""


def holds_json_word(messages: Any) -> bool:
    """Whether a text in encoded messages holds the word JSON, without which OpenAI and others refuse plain JSON.

    https://platform.openai.com/docs/guides/structured-outputs#json-mode (2026-11-29); also Mistral's and DeepSeek's
    guides to JSON mode, and Alibaba's.
    """
    if isinstance(messages, str):
        return "json" in messages.lower()
    if isinstance(messages, Mapping):
        return any(holds_json_word(messages.get(name)) for name in ("content", "text"))
    return isinstance(messages, list) and any(map(holds_json_word, messages))


def _listed(notes: tuple[str, ...]) -> str:
    shown, rest = notes[:_MOST_REPORTED], len(notes) - _MOST_REPORTED
    return "; ".join([*shown, f"and {rest} more"] if rest > 0 else shown)


class _Pass(Compiler):
    def __init__(self, root: Any, dialect: Dialect) -> None:
        super().__init__(root)
        self._dialect = dialect
        self.has_map = False
        """There is an object of any members and no others, of which nothing is left when it is closed."""

    def compiled(self, schema: Schema, path: str, seen: tuple[str, ...], depth: int) -> Schema:
        """One schema, keyword by keyword."""
        if self._dialect.limits is not None and "allOf" in schema:
            schema = self.all_of(schema, path, seen)
        if self._dialect.limits is not None and "oneOf" in schema and "discriminator" not in schema:
            self.is_weaker = True  # as anyOf, whose alternatives do not exclude each other
        if self._dialect.one_type and isinstance(schema.get("type"), list):
            schema = self._alternatives(schema, path)
        out: Schema = {}
        for name, value in schema.items():
            self._keyword(name, value, path, depth, out)
        if schema.get("additionalProperties", False) is not False and not schema.get("properties"):
            self.has_map = True
        self._close(schema, path, out)
        limits = {name: value for name, value in schema.items() if self._is_limit(name, value)}
        if limits:
            self.change(path, f"{', '.join(map(str, limits))} in the description")
            self.is_weaker |= not limits.keys() <= _ANNOTATIONS
            words = ", ".join(f"{name}: {msgspec.json.encode(v).decode()}" for name, v in limits.items())
            before = f"{out['description']}\n\n" if out.get("description") else ""
            out["description"] = f"{before}{{{words}}}"
        if self._dialect.limits is not None and "$ref" in out and out.keys() - _BESIDE_REF:
            self.change(path, "$ref within anyOf, since it stands alone")
            out["anyOf"] = [{"$ref": out.pop("$ref")}]
        return out

    def _keyword(self, name: str, value: Any, path: str, depth: int, out: Schema) -> None:
        if name in _NAMED and isinstance(value, Mapping):
            out[name] = {key: self.node(sub, f"{path}.{key}", (), depth + 1) for key, sub in value.items()}
        elif name in _BRANCHES and isinstance(value, list):
            known = name if self._dialect.limits is None else "anyOf"
            if known != name:
                self.change(path, f"{name} as {known}")
            branches = [self.node(sub, f"{path}.{name}[{at}]", (), depth + 1) for at, sub in enumerate(value)]
            out[known] = [*out.get(known, ()), *branches]
        elif name == "items" and isinstance(value, Mapping):
            out[name] = self.node(value, f"{path}[]", (), depth + 1)
        elif name in NOTES:
            self.change(path, f"{name} is left out")
        elif name == "additionalProperties":
            self._others(value, path, out)
        elif not self._is_limit(name, value):
            out[name] = value

    def _is_limit(self, name: str, value: Any) -> bool:
        """Whether a keyword can stand in the description only."""
        if name in _NAMED:
            return not isinstance(value, Mapping)
        if name in _BRANCHES:
            return not isinstance(value, list)
        if name == "items" and isinstance(value, Mapping):
            return False
        return not (name in NOTES or name in _SHAPE or self._takes(name, value))

    def _takes(self, name: str, value: Any) -> bool:
        dialect = self._dialect
        if dialect.limits is None:
            return True
        if name == "format":
            return isinstance(value, str) and value in (dialect.formats or ())
        return name in dialect.limits or (name == "minItems" and dialect.few_items and value in (0, 1))

    def _others(self, value: Any, path: str, out: Schema) -> None:
        """`additionalProperties`: a closed object can have no others."""
        out["additionalProperties"] = value
        if self._dialect.closed and value is not False:
            self.lose(path, "properties of any name")

    def _close(self, schema: Schema, path: str, out: Schema) -> None:
        kinds = schema.get("type")
        is_object = kinds == "object" or (isinstance(kinds, list) and "object" in kinds)
        if not is_object and "properties" not in schema:
            return
        if self._dialect.closed:
            if "additionalProperties" not in out:
                self.change(path, "no other properties")
            out["additionalProperties"] = False
        names = list(out.get("properties", ()))
        required = out.get("required", [])
        if self._dialect.all_required and not (isinstance(required, list) and _same(required, names)):
            out["required"] = names
            self.change(path, "every property is required")

    def _alternatives(self, schema: Schema, path: str) -> Schema:
        """Several types as alternatives, each with the keywords of all."""
        words: Schema = {name: schema[name] for name in ("title", "description", "$defs") if name in schema}
        rest = {name: value for name, value in schema.items() if name not in words and name != "type"}
        self.change(path, "several types as anyOf")
        kinds = schema["type"]
        return {**words, "anyOf": [{"type": k, **({} if k == "null" else rest)} for k in kinds]}


def _same(one: list[Any], other: list[Any]) -> bool:
    return sorted(map(str, one)) == sorted(map(str, other))


def _refers_to_itself(root: Any) -> bool:
    """Whether following references leads to one that is being followed."""
    known: dict[str, bool] = {}

    def leads_back(value: Any, seen: tuple[str, ...]) -> bool:
        if isinstance(value, Mapping):
            ref = value.get("$ref")
            if isinstance(ref, str):
                if ref in seen:
                    return True
                if ref not in known:
                    known[ref] = leads_back(target_of(root, ref), (*seen, ref))
                return known[ref]
            return any(leads_back(inner, seen) for name, inner in value.items() if name != "$defs")
        return isinstance(value, list) and any(leads_back(inner, seen) for inner in value)

    return leads_back(root, ())
