"""JSON Schema for Google: sent as it is where that is taken, else compiled, with a word on everything that is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider.protocols.base.schemas import compile_schema
from brainwires_provider.protocols.gemini import Gemini, GeminiQuirks
from brainwires_provider.types import JSONSchema, Message, Origin, Request, Tool
from known import encode_known

ITEMS = {"items": {"type": "STRING"}}
UNSAID_ITEMS = "$: an array must say its items: they are said to be texts"
PET = {"$defs": {"pet": {"type": "string", "description": "a pet"}}}
WORDS = ("title", "description", "default", "examples", "$comment")
"""Keywords that limit no value."""
MINE, OTHERS_WORDS = ({name: f"{whose} {name}" for name in WORDS} for whose in ("my", "another"))
LEFT_OUT = ("$: examples is left out", "$: $comment is left out: it says nothing of the shape")
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
}

# what is asked: (what is sent, what the report says was changed, what it says was lost)
CONSTRUCTS: dict[str, tuple[Any, Any, tuple[str, ...], tuple[str, ...]]] = {
    "a type": ({"type": "string"}, {"type": "STRING"}, (), ()),
    "a type in Google's own case": ({"type": "OBJECT"}, {"type": "OBJECT"}, (), ()),
    "words": (
        {"type": "string", "title": "T", "description": "D", "default": "x"},
        {"type": "STRING", "title": "T", "description": "D", "default": "x"},
        (),
        (),
    ),
    "words that are none": ({"title": 3}, {}, (), ("$: title",)),
    "an object": (
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}, "required": ["a"]},
        (),
        (),
    ),
    "an object without its type": (
        {"properties": {}},
        {"type": "OBJECT", "properties": {}},
        ("$: type object is told by its keywords",),
        (),
    ),
    "a list without its type": (
        {"items": {"type": "integer"}},
        {"type": "ARRAY", "items": {"type": "INTEGER"}},
        ("$: type array is told by its keywords",),
        (),
    ),
    "properties that are none": (
        {"type": "object", "properties": 1},
        {"type": "OBJECT"},
        (),
        ("$: properties",),
    ),
    "required without its property": (
        {"type": "object", "properties": {"a": True}, "required": ["a", "b"]},
        {"type": "OBJECT", "properties": {"a": {}}, "required": ["a"]},
        (),
        ("$: required: ['b'], of which there is no property",),
    ),
    "required that is no list": (
        {"type": "object", "required": "a"},
        {"type": "OBJECT"},
        (),
        ("$: required: ['a'], of which there is no property",),
    ),
    "required and nothing is": (
        {"type": "object", "required": []},
        {"type": "OBJECT"},
        ("$: required is left out: it is empty",),
        (),
    ),
    "no further properties": (
        {"type": "object", "additionalProperties": False},
        {"type": "OBJECT"},
        (),
        ("$: additionalProperties",),
    ),
    "an order": (
        {"type": "object", "propertyOrdering": ["b", "a"]},
        {"type": "OBJECT", "propertyOrdering": ["b", "a"]},
        (),
        (),
    ),
    "an order that is none": (
        {"propertyOrdering": 1, "type": "object"},
        {"type": "OBJECT"},
        (),
        ("$: propertyOrdering",),
    ),
    "an array": (
        {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3.0},
        {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": 1, "maxItems": 3},
        (),
        (),
    ),
    "an array of anything": ({"type": "array"}, {"type": "ARRAY", **ITEMS}, (), (UNSAID_ITEMS,)),
    "a size that is none": ({"type": "string", "minLength": -1}, {"type": "STRING"}, (), ("$: minLength",)),
    "unique items": (
        {"type": "array", "items": True, "uniqueItems": True},
        {"type": "ARRAY", "items": {}},
        (),
        ("$: uniqueItems",),
    ),
    "a tuple": (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": False},
        {"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}},
        (),
        ("$: prefixItems: which item is which", "$: items beside prefixItems"),
    ),
    "a tuple of the old form": (
        {"type": "array", "items": [{"type": "string"}, {"type": "string"}]},
        {"type": "ARRAY", "items": {"type": "STRING"}},
        (),
        ("$: items: which item is which",),
    ),
    "a tuple of nothing": (
        {"type": "array", "prefixItems": []},
        {"type": "ARRAY", **ITEMS},
        (),
        ("$: prefixItems: which item is which", UNSAID_ITEMS),
    ),
    "a string's limits": (
        {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^a"},
        {"type": "STRING", "minLength": 1, "maxLength": 3, "pattern": "^a"},
        (),
        (),
    ),
    "limits without a type": (
        {"maxLength": 3},
        {"type": "STRING", "maxLength": 3},
        ("$: type string is told by its keywords",),
        (),
    ),
    "a known format": (
        {"type": "string", "format": "date-time"},
        {"type": "STRING", "format": "date-time"},
        (),
        (),
    ),
    "a number's format": (
        {"type": "integer", "format": "int64"},
        {"type": "INTEGER", "format": "int64"},
        (),
        (),
    ),
    "another format": ({"type": "string", "format": "uuid"}, {"type": "STRING"}, (), ("$: format 'uuid'",)),
    "a format that is none": ({"type": "string", "format": 1}, {"type": "STRING"}, (), ("$: format",)),
    "bounds": (
        {"type": "number", "minimum": 0, "maximum": 1.5},
        {"type": "NUMBER", "minimum": 0, "maximum": 1.5},
        (),
        (),
    ),
    "bounds that are none": ({"type": "number", "minimum": "0"}, {"type": "NUMBER"}, (), ("$: minimum",)),
    "an integer's exclusive bounds": (
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
        {"type": "INTEGER", "minimum": 1, "maximum": 8},
        ("$: exclusiveMinimum 0 is said by minimum", "$: exclusiveMaximum 9 is said by maximum"),
        (),
    ),
    "a number's exclusive bound": (
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "NUMBER", "minimum": 0},
        (),
        ("$: exclusiveMinimum: 0 itself is let through",),
    ),
    "both kinds of bound": (
        {"type": "number", "minimum": 1, "exclusiveMinimum": 0},
        {"type": "NUMBER", "minimum": 1},
        (),
        ("$: exclusiveMinimum",),
    ),
    "a multiple": ({"type": "integer", "multipleOf": 5}, {"type": "INTEGER"}, (), ("$: multipleOf",)),
    "an enum": (
        {"enum": ["a", "b"]},
        {"type": "STRING", "enum": ["a", "b"], "format": "enum"},
        (),
        (),
    ),
    "an enum of numbers": (
        {"type": "integer", "enum": [1, 2]},
        {"type": "INTEGER", "enum": ["1", "2"], "format": "enum"},
        ("$: the numbers of enum are listed as texts",),
        (),
    ),
    "an enum with null": (
        {"enum": ["a", None]},
        {"type": "STRING", "enum": ["a"], "format": "enum", "nullable": True},
        ("$: null is said by nullable",),
        (),
    ),
    "an enum of anything": ({"enum": [1, "a"]}, {}, (), ("$: enum",)),
    "an enum of nothing": ({"enum": []}, {}, (), ("$: enum",)),
    "an enum that is none": ({"enum": 3}, {}, (), ("$: enum",)),
    "null alone": ({"type": "null"}, {"type": "NULL"}, (), ()),
    "null listed": ({"type": "null", "enum": [None]}, {"type": "NULL"}, (), ()),
    "a constant": (
        {"const": "a"},
        {"type": "STRING", "enum": ["a"], "format": "enum"},
        ("$: const is said by enum",),
        (),
    ),
    "a constant that is no text": ({"const": True}, {}, (), ("$: const",)),
    "a constant beside an enum": (
        {"enum": ["a", "b"], "const": "a"},
        {"type": "STRING", "enum": ["a", "b"], "format": "enum"},
        (),
        ("$: const",),
    ),
    "nullable by a list of types": (
        {"type": ["string", "null"]},
        {"type": "STRING", "nullable": True},
        ("$: null is said by nullable",),
        (),
    ),
    "nullable, said as OpenAPI does": (
        {"type": "string", "nullable": True},
        {"type": "STRING", "nullable": True},
        (),
        (),
    ),
    "nullable that is none": ({"type": "string", "nullable": 1}, {"type": "STRING"}, (), ("$: nullable",)),
    "several types": (
        {"type": ["string", "integer"], "maxLength": 3, "minimum": 0, "description": "D"},
        {
            "anyOf": [{"type": "STRING", "maxLength": 3}, {"type": "INTEGER", "minimum": 0}],
            "description": "D",
        },
        ("$: several types are said by anyOf",),
        (),
    ),
    "several types and an enum": (
        {"type": ["string", "integer", "boolean", "null"], "enum": ["a", 1, None, 2.5, []]},
        {
            "anyOf": [
                {"type": "STRING", "enum": ["a"], "format": "enum"},
                {"type": "INTEGER"},
            ],
            "nullable": True,
        },
        ("$: null is said by nullable", "$: several types are said by anyOf"),
        ("$: enum", "$: enum: values of a type that is not among the types"),
    ),
    "several types and an enum of each of them": (
        {
            "type": ["boolean", "array", "object", "number", "string"],
            "enum": [False, [1], {"a": 1}, 2.5, "a"],
        },
        {
            "anyOf": [
                {"type": "BOOLEAN"},
                {"type": "ARRAY", **ITEMS},
                {"type": "OBJECT"},
                {"type": "NUMBER"},
                {"type": "STRING", "enum": ["a"], "format": "enum"},
            ]
        },
        ("$: several types are said by anyOf",),
        ("$: enum", UNSAID_ITEMS),
    ),
    "several types and an enum of one of them": (
        {"type": ["string", "boolean"], "enum": ["a"]},
        {"anyOf": [{"type": "STRING", "enum": ["a"], "format": "enum"}]},
        ("$: several types are said by anyOf",),
        (),
    ),
    "several types and nothing of them": (
        {"type": ["string", "boolean"], "enum": [1]},
        {},
        ("$: several types are said by anyOf",),
        ("$: enum: values of a type that is not among the types",),
    ),
    "several types and an enum that is none": (
        {"type": ["string", "boolean"], "enum": 1},
        {"anyOf": [{"type": "STRING"}, {"type": "BOOLEAN"}]},
        ("$: several types are said by anyOf",),
        ("$: enum",),
    ),
    "several types beside anyOf": (
        {"type": ["string", "integer"], "anyOf": [{"minLength": 1}, {"minimum": 1}]},
        {"anyOf": [{"type": "STRING", "minLength": 1}, {"type": "NUMBER", "minimum": 1}]},
        (
            "$.anyOf[0]: type string is told by its keywords",
            "$.anyOf[1]: type number is told by its keywords",
        ),
        ("$: type ['string', 'integer'] beside anyOf",),
    ),
    "an unknown type": ({"type": "date"}, {}, (), ("$: type 'date'",)),
    "no type": ({"type": None}, {}, (), ("$: type",)),
    "no types": ({"type": []}, {}, (), ("$: type []",)),
    "anyOf": (
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
        (),
        (),
    ),
    "anyOf with null": (
        {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}], "default": None},
        {"type": "STRING", "maxLength": 3, "nullable": True, "default": None},
        ("$: null is said by nullable",),
        (),
    ),
    "anyOf with a null constant": (
        {"anyOf": [{"type": "string"}, {"const": None}]},
        {"type": "STRING", "nullable": True},
        ("$: null is said by nullable",),
        (),
    ),
    "anyOf with a null that has words": (
        {"anyOf": [{"type": "string"}, {"type": ["null"], "title": "T", "description": "D"}]},
        {"type": "STRING", "nullable": True},
        ("$: null is said by nullable",),
        (),
    ),
    "anyOf with a null that says more": (
        {"anyOf": [{"type": "string"}, {"type": "null", "default": None}]},
        {"anyOf": [{"type": "STRING"}, {"type": "NULL", "default": None}]},
        (),
        (),
    ),
    "anyOf of null alone": (
        {"anyOf": [{"type": "null"}]},
        {"nullable": True},
        ("$: null is said by nullable",),
        (),
    ),
    "anyOf of one that says it again": (
        {"description": "D", "anyOf": [{"type": "string", "description": "E"}]},
        {"description": "D", "anyOf": [{"type": "STRING", "description": "E"}]},
        (),
        (),
    ),
    "oneOf": (
        {"oneOf": [{"type": "string"}, True]},
        {"anyOf": [{"type": "STRING"}, {}]},
        ("$: oneOf is said by anyOf",),
        (),
    ),
    "oneOf beside anyOf": (
        {"anyOf": [{"type": "string"}], "oneOf": [{"type": "string"}]},
        {"type": "STRING"},
        (),
        ("$: oneOf",),
    ),
    "anyOf that is none": ({"anyOf": []}, {}, (), ("$: anyOf",)),
    "allOf": (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "title": "A"},
                {"properties": {"b": {"type": "string"}}, "required": ["b", "a"], "title": "B"},
                True,
            ]
        },
        {
            "type": "OBJECT",
            "properties": {"b": {"type": "STRING"}, "a": {"type": "STRING"}},
            "required": ["a", "b"],
            "title": "A",
        },
        ("$: allOf is merged", "$.allOf[1]: title is left out: one is said already"),
        (),
    ),
    "words in allOf": (
        {**MINE, "allOf": [OTHERS_WORDS]},
        {"title": "my title", "description": "my description", "default": "my default"},
        (
            "$: allOf is merged",
            *(f"$.allOf[0]: {name} is left out: one is said already" for name in WORDS),
            *LEFT_OUT,
        ),
        (),
    ),
    "allOf that differs": (
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "c": {"type": "string"}},
            "maxProperties": 3,
            "allOf": [
                {"properties": {"a": {"type": "integer"}, "c": {"type": "string"}}, "maxProperties": 2},
                3,
            ],
        },
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}, "c": {"type": "STRING"}},
            "maxProperties": 3,
        },
        ("$: allOf is merged",),
        (
            "$.allOf[0].properties.a: said in another way before",
            "$.allOf[0]: maxProperties, of which something else is said already",
            "$: allOf[1]",
        ),
    ),
    "allOf in allOf": (
        {"allOf": [{"allOf": [{"type": "string"}]}]},
        {"type": "STRING"},
        ("$: allOf is merged",),
        (),
    ),
    "a number that is listed, of no other type": (
        {"enum": [1, 2]},
        {"type": "INTEGER", "enum": ["1", "2"], "format": "enum"},
        ("$: the numbers of enum are listed as texts",),
        (),
    ),
    "null listed beside texts": (
        {"enum": ["a", None]},
        {"type": "STRING", "enum": ["a"], "format": "enum", "nullable": True},
        ("$: null is said by nullable",),
        (),
    ),
    "a count of 0, and one that is none": (
        {"type": "string", "minLength": 0, "maxLength": -1},
        {"type": "STRING", "minLength": 0},
        (),
        ("$: maxLength",),
    ),
    "allOf that says every word again": (
        {
            "type": "integer",
            "title": "T",
            "description": "D",
            "default": 1,
            "examples": [1],
            "$id": "a",
            "allOf": [{"title": "U", "description": "E", "default": 2, "examples": [2], "$id": "b"}],
        },
        {"type": "INTEGER", "title": "T", "description": "D", "default": 1, "example": 1},
        (
            "$: allOf is merged",
            *(
                f"$.allOf[0]: {name} is left out: one is said already"
                for name in ("title", "description", "default", "examples", "$id")
            ),
            "$: of examples the first is sent",
            "$: $id is left out: it says nothing of the shape",
        ),
        (),
    ),
    "allOf with further definitions": (
        {
            "type": "string",
            "$defs": {"x": {}},
            "definitions": {"x": {}},
            "allOf": [{"$defs": {"y": {}}, "definitions": {"y": {}}}],
        },
        {"type": "STRING"},
        ("$: allOf is merged",),
        (),
    ),
    "allOf beside what is no list and no object": (
        {"properties": 3, "required": 3, "allOf": [{"properties": {}, "required": ["a"]}]},
        {"type": "OBJECT"},
        ("$: allOf is merged", "$: type object is told by its keywords"),
        (
            "$.allOf[0]: properties, of which something else is said already",
            "$.allOf[0]: required, of which something else is said already",
            "$: properties",
            "$: required: [3], of which there is no property",
        ),
    ),
    "allOf that is none": ({"allOf": 1}, {}, (), ("$: allOf",)),
    "allOf that is none, in allOf": (
        {"type": "string", "allOf": [{"allOf": 1, "title": "T"}]},
        {"type": "STRING", "title": "T"},
        ("$: allOf is merged",),
        ("$: allOf",),
    ),
    "allOf beyond what is no limit, and no schema": (
        {"allOf": [True, False, {"type": "string"}]},
        {"type": "STRING"},
        ("$: allOf is merged",),
        ("$: allOf[1]",),
    ),
    "allOf of a reference": (
        {"allOf": [{"$ref": "#/$defs/pet", "title": "T"}], **PET},
        {"type": "STRING", "title": "T", "description": "a pet"},
        ("$: allOf is merged",),
        (),
    ),
    "allOf of references that lead nowhere": (
        {
            "type": "object",
            "properties": {"a": {"type": "string", "allOf": [{"$ref": "#/x"}, {"allOf": [{"$ref": 3}]}]}},
        },
        {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        ("$.a: allOf is merged",),
        ("$.a.allOf[0]: $ref '#/x', which is not in the schema", "$.a.allOf[0]: $ref"),
    ),
    "allOf of itself": (
        {
            "allOf": [{"$ref": "#/$defs/a"}],
            "$defs": {"a": {"type": "string", "allOf": [{"$ref": "#/$defs/a"}]}},
        },
        {"type": "STRING"},
        ("$: allOf is merged",),
        ("$.allOf[0]: $ref '#/$defs/a', which refers to itself",),
    ),
    "a reference whose allOf refers to it": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string", "allOf": [{"$ref": "#/$defs/a"}]}}},
        {"type": "STRING"},
        ("$: allOf is merged",),
        ("$.allOf[0]: $ref '#/$defs/a', which refers to itself",),
    ),
    "two branches of one reference": (
        {"allOf": [{"$ref": "#/$defs/pet"}, {"$ref": "#/$defs/pet"}], **PET},
        {"type": "STRING", "description": "a pet"},
        ("$: allOf is merged",),
        (),
    ),
    "definitions that differ": (
        {
            "type": "string",
            "$defs": {"x": {}, "y": {}},
            "definitions": {"x": {}, "y": {}},
            "allOf": [
                {"$defs": {"x": {}, "y": True, "z": {}}, "definitions": {"y": False, "z": {}}},
                {"$defs": 3},
            ],
        },
        {"type": "STRING"},
        ("$: allOf is merged",),
        (
            "$.allOf[0].$defs.y: said in another way before",
            "$.allOf[0].definitions.y: said in another way before",
            "$.allOf[1]: $defs, of which something else is said already",
        ),
    ),
    "a reference to the root": (
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "OBJECT", "properties": {"a": {}}}},
        },
        (),
        ("$.a.a: $ref '#', which refers to itself",),
    ),
    "a reference that is encoded as in an address": (
        {"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "number"}}},
        {"type": "NUMBER"},
        (),
        (),
    ),
    "a reference to what is no schema": (
        {"$ref": "#/$defs/a", "type": "string", "$defs": {"a": 3}},
        {"type": "STRING"},
        (),
        ("$: $ref '#/$defs/a', which is not in the schema",),
    ),
    "a reference with the same limits, and others": (
        {
            "$ref": "#/$defs/a",
            "type": "string",
            "minLength": 1,
            "$defs": {"a": {"type": "string", "minLength": 2, "maxLength": 3}},
        },
        {"type": "STRING", "minLength": 1, "maxLength": 3},
        (),
        ("$: minLength of '#/$defs/a', which stands beside the reference too",),
    ),
    "a reference": (
        {"type": "object", "properties": {"p": {"$ref": "#/$defs/pet"}}, **PET},
        {"type": "OBJECT", "properties": {"p": {"type": "STRING", "description": "a pet"}}},
        (),
        (),
    ),
    "a reference with words of its own": (
        {"$ref": "#/$defs/pet", **MINE, "$defs": {"pet": {"type": "string", **OTHERS_WORDS}}},
        {"type": "STRING", "title": "my title", "description": "my description", "default": "my default"},
        LEFT_OUT,
        (),
    ),
    "a reference with limits of its own": (
        {"$ref": "#/$defs/pet", "type": ["string", "null"], **PET},
        {"type": "STRING", "description": "a pet", "nullable": True},
        ("$: null is said by nullable",),
        ("$: type of '#/$defs/pet', which stands beside the reference too",),
    ),
    "a reference to a reference": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "number"}}},
        {"type": "NUMBER"},
        (),
        (),
    ),
    "a reference into a list, escaped": (
        {"$ref": "#/$defs/a~1b/anyOf/0", "$defs": {"a/b": {"anyOf": [{"type": "number"}]}}},
        {"type": "NUMBER"},
        (),
        (),
    ),
    "a reference that is escaped with a tilde": (
        {"$ref": "#/$defs/a~0b", "$defs": {"a~b": {"type": "number"}}},
        {"type": "NUMBER"},
        (),
        (),
    ),
    "a reference behind a list": (
        {"$ref": "#/$defs/a/anyOf/1", "$defs": {"a": {"anyOf": [{"type": "number"}]}}},
        {},
        (),
        ("$: $ref '#/$defs/a/anyOf/1', which is not in the schema",),
    ),
    "a reference to a list's name": (
        {"$ref": "#/$defs/a/anyOf/x", "$defs": {"a": {"anyOf": [{"type": "number"}]}}},
        {},
        (),
        ("$: $ref '#/$defs/a/anyOf/x', which is not in the schema",),
    ),
    "a reference with words and definitions of its own": (
        {
            "$ref": "#/$defs/a",
            "title": "T",
            "default": 1,
            "definitions": {},
            "$defs": {
                "a": {"type": "integer", "title": "A", "default": 2, "definitions": {"b": {}}, "$defs": {}}
            },
        },
        {"type": "INTEGER", "title": "T", "default": 1},
        (),
        (),
    ),
    "a reference to a reference with words": (
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"$ref": "#/$defs/b", "title": "A"}, "b": {"type": "number", "title": "B"}},
        },
        {"type": "NUMBER", "title": "A"},
        (),
        (),
    ),
    "a reference to anything": ({"$ref": "#/$defs/a", "$defs": {"a": True}}, {}, (), ()),
    "a reference to nowhere": (
        {"$ref": "#/$defs/a/b/7"},
        {},
        (),
        ("$: $ref '#/$defs/a/b/7', which is not in the schema",),
    ),
    "a reference into a word": (
        {"$ref": "#/title/x", "title": "T"},
        {"title": "T"},
        (),
        ("$: $ref '#/title/x', which is not in the schema",),
    ),
    "a reference elsewhere": (
        {"$ref": "https://example.com/a"},
        {},
        (),
        ("$: $ref 'https://example.com/a', which is not in the schema",),
    ),
    "a reference that is none": ({"$ref": 3}, {}, (), ("$: $ref",)),
    "a schema of itself": (
        TREE,
        {"type": "OBJECT", "properties": {"next": {}}},
        (),
        ("$.next: $ref '#/$defs/node', which refers to itself",),
    ),
    "notes": (
        {"$schema": "x", "$id": "y", "$comment": "z", "readOnly": True, "type": "string"},
        {"type": "STRING"},
        tuple(
            f"$: {name} is left out: it says nothing of the shape"
            for name in ("$schema", "$id", "$comment", "readOnly")
        ),
        (),
    ),
    "examples": (
        {"type": "string", "examples": ["a", "b"]},
        {"type": "STRING", "example": "a"},
        ("$: of examples the first is sent",),
        (),
    ),
    "examples beside an example": (
        {"type": "string", "example": "c", "examples": ["a"]},
        {"type": "STRING", "example": "c"},
        ("$: examples is left out",),
        (),
    ),
    "conditions": (
        {"if": {}, "then": {}, "else": {}, "not": {}, "type": "string"},
        {"type": "STRING"},
        (),
        ("$: if", "$: then", "$: else", "$: not"),
    ),
    "what depends": (
        {"type": "object", "patternProperties": {}, "dependentRequired": {}, "propertyNames": {}},
        {"type": "OBJECT"},
        (),
        ("$: patternProperties", "$: dependentRequired", "$: propertyNames"),
    ),
    "a keyword never heard of": ({"x-odd": 1}, {}, (), ("$: x-odd",)),
    "true": (True, {}, (), ()),
    "false": (False, {}, (), ("$: nothing is allowed here",)),
    "no schema at all": ([1], {}, (), ("$: not a schema",)),
}


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_construct_is_compiled(name: str) -> None:
    schema, sent, changed, lost = CONSTRUCTS[name]
    before = json.dumps(schema)
    made = compile_schema(schema)
    assert made.schema == sent
    assert made.changed == changed
    assert made.lost == lost
    assert made.is_weaker is any("oneOf is said by anyOf" in what for what in changed)
    assert json.dumps(schema) == before


ABOUT = {
    "object": "properties required minProperties maxProperties additionalProperties patternProperties "
    "propertyNames dependentRequired dependentSchemas unevaluatedProperties propertyOrdering",
    "array": "items prefixItems minItems maxItems uniqueItems contains unevaluatedItems",
    "string": "minLength maxLength pattern",
    "number": "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf",
}
"""The keywords that say something of one type only, as JSON Schema has them; the order of properties is Google's."""


@pytest.mark.parametrize("kind", ABOUT)
def test_every_keyword_tells_its_type(kind: str) -> None:
    """And goes with it, where there are several types."""
    for name in ABOUT[kind].split():
        made = compile_schema({name: 1})
        assert made.schema["type"] == kind.upper(), name
        assert f"$: type {kind} is told by its keywords" in made.changed, name
        for own in (kind, "integer") if kind == "number" else (kind,):
            several = compile_schema({"type": ["boolean", own], name: 1})
            alone = compile_schema({"type": own, name: 1})
            assert several.schema == {"anyOf": [{"type": "BOOLEAN"}, alone.schema]}, name
            assert several.lost == alone.lost, name


SIZES = "minLength maxLength minItems maxItems minProperties maxProperties"
FORMATS_OF = {
    "string": ("date-time", "enum"),
    "integer": ("int32", "int64"),
    "number": ("float", "double"),
    "boolean": (),
}
NOTED = "$schema $id id $comment $anchor $vocabulary readOnly writeOnly deprecated"
"""The keywords that say nothing of a value."""


def kept(schema: Any) -> tuple[Any, tuple[str, ...]]:
    made = compile_schema(schema)
    return made.schema, made.lost


@pytest.mark.parametrize("name", SIZES.split())
def test_a_size_is_a_whole_number(name: str) -> None:
    kind = next(kind for kind, names in ABOUT.items() if name in names.split())
    whole = {"type": kind, **({"items": True} if kind == "array" else {})}
    sent = {"type": kind.upper(), **({"items": {}} if kind == "array" else {})}
    for value, size in ((0, 0), (7, 7), (2.0, 2)):
        assert kept({**whole, name: value}) == ({**sent, name: size}, ())
        assert type(compile_schema({**whole, name: value}).schema[name]) is int
    for value in (-1, 1.5, True, "1", None, []):
        assert kept({**whole, name: value}) == (sent, (f"$: {name}",))


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_a_bound_is_a_number(kind: str) -> None:
    sent = {"type": kind.upper()}
    for name in ("minimum", "maximum"):
        for value in (-1, 0, 1.5):
            assert kept({"type": kind, name: value}) == ({**sent, name: value}, ())
        for value in (True, "1", None, []):
            assert kept({"type": kind, name: value}) == (sent, (f"$: {name}",))
        exclusive = f"exclusive{name.capitalize()}"
        for value in (True, "1", None, []):
            assert kept({"type": kind, exclusive: value}) == (sent, (f"$: {exclusive}",))
        assert kept({"type": kind, exclusive: 5, name: 3}) == ({**sent, name: 3}, (f"$: {exclusive}",))
        through = (f"$: {exclusive}: 0.5 itself is let through",)
        assert kept({"type": kind, exclusive: 0.5}) == ({**sent, name: 0.5}, through)
        step = {"minimum": 1, "maximum": -1}[name] if kind == "integer" else 0
        schema, lost = kept({"type": kind, exclusive: 5})
        assert (schema, bool(lost)) == ({**sent, name: 5 + step}, kind == "number")


@pytest.mark.parametrize("kind", FORMATS_OF)
def test_every_format_goes_with_its_type(kind: str) -> None:
    for owner, formats in FORMATS_OF.items():
        for word in (*formats, "uuid", "date"):
            sent = {"type": kind.upper(), **({"format": word} if word in FORMATS_OF[kind] else {})}
            is_lost = word not in FORMATS_OF[kind]
            assert kept({"type": kind, "format": word}) == (sent, (f"$: format {word!r}",) * is_lost), owner
    assert kept({"format": "date-time"}) == ({}, ("$: format 'date-time'",))


@pytest.mark.parametrize("name", NOTED.split())
def test_every_note_is_left_out(name: str) -> None:
    made = compile_schema({"type": "string", name: "x", "allOf": [{name: "y"}]})
    assert made.schema == {"type": "STRING"}
    assert made.changed == (
        "$: allOf is merged",
        f"$.allOf[0]: {name} is left out: one is said already",
        f"$: {name} is left out: it says nothing of the shape",
    )
    assert made.lost == ()
    beside = {"$ref": "#/$defs/a", name: "x", "$defs": {"a": {"type": "string", name: "y"}}}
    assert kept(beside) == ({"type": "STRING"}, ())


@pytest.mark.parametrize(
    ("schema", "sent", "changed", "lost"),
    [
        *(({"type": "string", name: 3}, {"type": "STRING"}, "", name) for name in ("title", "description", "pattern")),
        *(
            ({"type": "string", name: value}, {"type": "STRING", name: value}, "", "")
            for name in ("default", "example")
            for value in (None, 3, ["a"])
        ),
        *(
            ({"type": "string", "examples": value}, {"type": "STRING"}, "examples is left out", "")
            for value in ([], "a", None)
        ),
        ({"type": "integer", "enum": ["a"]}, {"type": "INTEGER"}, "", "enum"),
        ({"type": "string", "enum": [1]}, {"type": "STRING"}, "", "enum"),
        ({"type": "number", "enum": [1]}, {"type": "NUMBER"}, "", "enum"),
        ({"type": "integer", "enum": [1, True]}, {"type": "INTEGER"}, "", "enum"),
        ({"type": "string", "const": ["a"]}, {"type": "STRING"}, "", "const"),
        ({"type": "null", "enum": ["a", None]}, {"type": "NULL"}, "", "enum"),
        ({"type": "null", "enum": []}, {"type": "NULL"}, "", "enum"),
        ({"type": "null", "const": None}, {"type": "NULL"}, "", ""),
        (
            {"type": "string", "enum": [None]},
            {"type": "STRING", "nullable": True},
            "null is said by nullable",
            "enum",
        ),
        ({"type": "string", "nullable": False}, {"type": "STRING", "nullable": False}, "", ""),
        (
            {"type": ["string", "null"], "nullable": False},
            {"type": "STRING", "nullable": True},
            "null is said by nullable",
            "",
        ),
        ({"properties": {1: True}}, {"type": "OBJECT", "properties": {"1": {}}},
         "type object is told by its keywords", ""),
        ({"type": "array", "prefixItems": 3}, {"type": "ARRAY", **ITEMS}, "", "prefixItems: which item is which"),
        ({"type": "array", "items": [{"type": "string"}]}, {"type": "ARRAY", **ITEMS},
         "", "items: which item is which"),
        ({"type": "array", "items": [True, True]}, {"type": "ARRAY", "items": {}}, "", "items: which item is which"),
        ({"type": "object", "propertyOrdering": ["a", 1]}, {"type": "OBJECT"}, "", "propertyOrdering"),
        ({"type": ["String", "NULL"]}, {"type": "STRING", "nullable": True}, "null is said by nullable", ""),
        ({"type": ["string", "string"]}, {"anyOf": [{"type": "STRING"}]}, "several types are said by anyOf", ""),
        ({"type": ["string", 3]}, {"type": "STRING"}, "", "type ['string', 3]"),
        (
            {"type": ["string", "boolean"], "minItems": 1},
            {"anyOf": [{"type": "STRING"}, {"type": "BOOLEAN"}], "minItems": 1},
            "several types are said by anyOf",
            "",
        ),
    ],
)  # fmt: skip
def test_a_value_that_a_keyword_does_not_take(schema: Any, sent: Any, changed: str, lost: str) -> None:
    made = compile_schema(schema)
    assert made.schema == sent
    assert [what.removeprefix("$: ") for what in made.changed] == [changed] * bool(changed)
    assert [what for what in made.lost if what != UNSAID_ITEMS] == [f"$: {lost}"] * bool(lost)


def test_one_alternative_is_put_in_place_where_nothing_is_said_twice() -> None:
    null = {"type": ["string", "null"]}
    sent = {"type": "STRING", "nullable": True}
    for nullable in (True, False):
        assert kept({"anyOf": [null], "nullable": nullable}) == (sent, ())
        assert kept({"nullable": nullable, "anyOf": [null]}) == ({"nullable": nullable, "anyOf": [sent]}, ())
    assert kept({"anyOf": [{"title": "A"}], "title": "B"}) == ({"anyOf": [{"title": "A"}], "title": "B"}, ())
    assert kept({"oneOf": [{"type": "string"}, {"type": "null"}]}) == (sent, ())


def test_null_among_the_values_is_allowed_with_one_type_and_with_several() -> None:
    assert kept({"type": "string", "enum": ["a", None]}) == (
        {"type": "STRING", "nullable": True, "enum": ["a"], "format": "enum"},
        (),
    )
    assert kept({"type": ["string", "integer"], "enum": ["a", 1, None]}) == (
        {
            "nullable": True,
            "anyOf": [
                {"type": "STRING", "enum": ["a"], "format": "enum"},
                {"type": "INTEGER", "enum": ["1"], "format": "enum"},
            ],
        },
        (),
    )


def test_a_schema_ends_where_it_is_too_large() -> None:
    def nested(depth: int) -> Any:
        schema: Any = {"type": "string"}
        for _ in range(depth):
            schema = {"items": schema, "type": "array"}
        return schema

    assert kept(nested(48))[1] == ()
    cut, lost = kept(nested(49))
    assert lost == (f"${'[]' * 49}: too large a schema: cut off here",)
    for _ in range(49):
        cut = cut["items"]
    assert cut == {}

    def wide(count: int) -> Any:
        return {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(count)}}

    assert kept(wide(4999))[1] == ()
    assert kept(wide(5000))[1] == ("$.p4999: too large a schema: cut off here",)

    def merged(depth: int) -> Any:
        schema: Any = {"type": "string"}
        for _ in range(depth):
            schema = {"allOf": [schema]}
        return schema

    assert kept(merged(17)) == ({"type": "STRING"}, ())
    assert kept(merged(18)) == ({}, ("$: allOf",))
    many = {"$defs": {"a": {"type": "string"}}, "allOf": [{"allOf": [True]}] * 4998}
    assert kept(many)[1] == ()
    assert kept({**many, "allOf": [{"allOf": [True]}] * 4999})[1] == ("$: allOf",)

    def both(count: int) -> Any:
        return {"anyOf": [{"allOf": [{"type": "string"}]}] * count}

    assert kept(both(2499))[1] == ()
    assert kept(both(2500))[1] == ("$.anyOf[2499]: allOf",)


@pytest.mark.parametrize(
    ("schema", "long", "told", "short"),
    [
        ({"type": "string", "format": ""}, 40, "$: format '{}'", "$: format"),
        ({"type": ""}, 58, "$: type '{}'", "$: type"),
    ],
)
def test_a_long_word_is_not_repeated(schema: dict[str, Any], long: int, told: str, short: str) -> None:
    name = next(name for name, value in schema.items() if value == "")
    assert compile_schema({**schema, name: "x" * (long - 1)}).lost == (told.format("x" * (long - 1)),)
    assert compile_schema({**schema, name: "x" * long}).lost == (short,)


# -- where which is sent -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_a_construct_goes_as_it_is_where_that_is_taken(name: str) -> None:
    schema = CONSTRUCTS[name][0]
    if isinstance(schema, dict):
        body, deviations = encoded(Gemini(), "gemini-3-flash", schema)
        assert body["tools"] == [
            {"functionDeclarations": [{"name": "f", "description": "", "parametersJsonSchema": schema}]}
        ]
        assert body["generationConfig"]["responseJsonSchema"] == schema
        assert deviations == []


@pytest.mark.parametrize(
    ("protocol", "model"),
    [(Gemini(), "gemini-1.5-pro"), (Gemini(GeminiQuirks(json_schema=False)), "gemini-3-flash")],
)
def test_elsewhere_the_report_says_what_became_of_it(protocol: Gemini, model: str) -> None:
    schema = {"type": ["string", "null"], "format": "uuid"}
    body, deviations = encoded(protocol, model, schema)
    sent = {"type": "STRING", "nullable": True}
    assert body["tools"] == [{"functionDeclarations": [{"name": "f", "description": "", "parameters": sent}]}]
    assert body["generationConfig"] == {"responseMimeType": "application/json", "responseSchema": sent}
    changed = "expressed in Google's schema dialect: $: null is said by nullable"
    lost = "Google's schema dialect cannot express: $: format 'uuid'"
    assert deviations == [
        ("tools[f].parameters", "adapted", changed),
        ("tools[f].parameters", "dropped", lost),
        ("output", "adapted", changed),
        ("output", "dropped", lost),
    ]


def encoded(protocol: Gemini, model: str, schema: dict[str, Any]) -> tuple[Any, list[tuple[str, str, str]]]:
    request = Request(
        (Message.user("hi"),), model=model, tools=(Tool("f", "", schema),), output=JSONSchema("f", schema)
    )
    call = encode_known(protocol, request, Origin("gemini", "google", model), stream=False)
    return call.body, [(d.field, d.outcome, d.reason) for d in call.deviations]


# -- whatever it is ------------------------------------------------------------------------------------------

DIALECT = frozenset(
    (
        *("type", "format", "title", "description", "nullable", "enum", "default", "example", "anyOf"),
        *("items", "minItems", "maxItems", "minLength", "maxLength", "pattern", "minimum", "maximum"),
        *("properties", "required", "minProperties", "maxProperties", "propertyOrdering"),
    )
)
OTHERS = (
    *("const", "oneOf", "allOf", "not", "if", "then", "else", "examples", "$ref", "$defs", "$schema", "$id"),
    *("exclusiveMinimum", "exclusiveMaximum", "multipleOf", "prefixItems", "uniqueItems", "contains"),
    *("additionalProperties", "patternProperties", "$comment", "x-odd"),
)
KEYWORDS = sorted((*DIALECT, *OTHERS))
TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-9, 9)
    | st.sampled_from(("", "a", "b", "string")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
    max_leaves=12,
)
REFS = st.sampled_from(("#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/$defs/a/items", "elsewhere"))


def schema_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A schema that mostly is one."""
    sub = inner | JSON
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), max_size=3) | JSON,
            "properties": st.dictionaries(st.sampled_from("abc"), sub, max_size=3) | JSON,
            "required": st.lists(st.sampled_from("abcd"), max_size=3) | JSON,
            "items": sub | st.lists(sub, max_size=2),
            "prefixItems": st.lists(sub, max_size=2) | JSON,
            "anyOf": st.lists(sub, max_size=3) | JSON,
            "oneOf": st.lists(sub, max_size=3) | JSON,
            "allOf": st.lists(sub, max_size=3) | JSON,
            "enum": st.lists(JSON, max_size=3) | JSON,
            "$ref": REFS | JSON,
            "$defs": st.dictionaries(st.sampled_from("ab"), sub, max_size=2) | JSON,
            "minimum": st.integers() | JSON,
            "exclusiveMinimum": st.integers() | JSON,
            "format": st.sampled_from(("date-time", "int32", "uuid")) | JSON,
            "const": JSON,
            "maxLength": JSON,
            "nullable": JSON,
            "additionalProperties": sub,
            "x-odd": JSON,
        },
    )


SCHEMAS = st.recursive(JSON, schema_of, max_leaves=8)


@settings(max_examples=100, deadline=None)
@given(SCHEMAS)
@pytest.mark.many
def test_everything_compiles_to_the_dialect(schema: Any) -> None:
    made = compile_schema(schema)
    for node in nodes(made.schema):
        assert node.keys() <= DIALECT
        assert node.get("type") in {None, *(t.upper() for t in TYPES)}
        assert all(isinstance(value, str) for value in node.get("enum", ()))
        assert set(node.get("required", ())) <= node.get("properties", {}).keys()
        assert node.get("type") != "ARRAY" or "items" in node
    json.dumps(made.schema)


def nodes(schema: dict[str, Any]) -> list[dict[str, Any]]:
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    if "items" in schema:
        below.append(schema["items"])
    return [schema, *(node for each in below for node in nodes(each))]


FLAT = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={name: JSON for name in KEYWORDS if name not in ("type", "$ref", "allOf", "$defs")},
)


@settings(max_examples=100, deadline=None)
@given(FLAT)
@pytest.mark.many
def test_no_keyword_goes_silently(schema: dict[str, Any]) -> None:
    """Each is sent as it was, or named in the report."""
    made = compile_schema(schema)
    said = " ".join(made.changed + made.lost)
    for name, value in schema.items():
        if name == "type":
            assert made.schema["type"] == value.upper()
        elif made.schema.get(name) != value and name not in said:
            # an alternative, an item, a property: compiled in its place, which the test below looks at
            assert name in ("anyOf", "oneOf", "items", "prefixItems", "properties", "enum"), (name, made)


@settings(max_examples=100, deadline=None)
@given(SCHEMAS, st.lists(JSON, min_size=1, max_size=6))
@pytest.mark.many
def test_what_is_not_reported_lost_means_the_same(schema: Any, values: list[Any]) -> None:
    """Where nothing is lost, both schemas allow the same values.

    Only where a type had to be added may the compiled schema allow less.
    """
    jsonschema = pytest.importorskip("jsonschema")
    made = compile_schema(schema)
    text = json.dumps(schema)
    if (
        made.lost or '"nullable"' in text or '"$id"' in text
    ):  # the one is OpenAPI's, the other moves references
        return
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError:
        return
    ours = jsonschema.Draft202012Validator(standard(made.schema))
    theirs = jsonschema.Draft202012Validator(schema)
    is_narrower = any("is told by its keywords" in what for what in made.changed)
    for value in [None, "a", 1, 0.5, [], {}, True, *values]:
        allowed = ours.is_valid(value), theirs.is_valid(value)
        assert allowed[0] == allowed[1] or (is_narrower and allowed == (False, True)), (made, value)


def standard(schema: dict[str, Any]) -> Any:
    """Google's dialect as JSON Schema."""
    made: dict[str, Any] = {k: v for k, v in schema.items() if k not in ("nullable", "example", "format")}
    if "type" in made:
        made["type"] = made["type"].lower()
    if made.get("type") == "integer" and "enum" in made:
        made["enum"] = [int(value) for value in made["enum"]]
    if "items" in made:
        made["items"] = standard(made["items"])
    if "anyOf" in made:
        made["anyOf"] = [standard(each) for each in made["anyOf"]]
    if "properties" in made:
        made["properties"] = {name: standard(each) for name, each in made["properties"].items()}
    return {"anyOf": [{"type": "null"}, made]} if schema.get("nullable") and made else made


def test_keywords_too_deep_to_compare_are_lost() -> None:
    def deep() -> Any:
        value: Any = 1
        for _ in range(100_000):
            value = [value]
        return value

    schema = {"$ref": "#/$defs/a", "x": deep(), "$defs": {"a": {"x": deep()}}}
    assert compile_schema(schema).lost == ("$: nested too deeply",)


def test_a_schema_without_end_is_cut_off() -> None:
    deep: Any = {"type": "string"}
    for _ in range(400):
        deep = {"type": "array", "items": deep}
    made = compile_schema(deep)
    assert len(made.lost) == 1
    assert "too large a schema" in made.lost[0]

    wide = {f"d{n}": {"properties": {k: {"$ref": f"#/$defs/d{n + 1}"} for k in "abcd"}} for n in range(20)}
    made = compile_schema({"$ref": "#/$defs/d0", "$defs": wide})
    assert any("too large a schema" in what for what in made.lost)

    doubled = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    assert any("allOf" in what for what in compile_schema({"$ref": "#/$defs/d0", "$defs": doubled}).lost)
