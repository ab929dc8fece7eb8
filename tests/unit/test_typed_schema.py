"""A given JSON Schema: which values it takes, and what is wrong with the others."""

from __future__ import annotations

from typing import Any

import pytest

from brainwires_provider.types.typed import Invalid, typed_schema

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": ["integer", "null"]}},
    "required": ["name"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "Node": {"properties": {"v": {"const": 1}, "next": {"$ref": "#/$defs/Node"}}, "required": ["v"]}
    },
    "$ref": "#/$defs/Node",
}
# A schema, what it takes, and (what it refuses, with which problems).
TABLE: tuple[tuple[Any, list[Any], list[tuple[Any, list[str]]]], ...] = (
    ({}, [1, None, "x", [], {}], []),
    (
        PERSON,
        [{"name": "A"}, {"name": "A", "age": None}, {"name": "A", "age": 3.0}],
        [
            (
                {"age": "x", "b": 1},
                [
                    "name: is missing",
                    'age: must be of the type integer or null, not "x"',
                    "b: does not exist",
                ],
            ),
            (
                {"name": "", "age": True},
                [
                    'name: must have at least 1 characters: ""',
                    "age: must be of the type integer or null, not true",
                ],
            ),
            ([], ["must be of the type object, not []"]),
        ],
    ),
    ({"enum": ["a", 1]}, ["a", 1], [(True, ['must be "a" or 1, not true'])]),
    (
        {"type": "number", "minimum": 0, "maximum": 10, "multipleOf": 2},
        [0, 10, 4.0],
        [
            (-1, ["must be at least 0: -1", "must be a multiple of 2: -1"]),
            (12, ["must be at most 10: 12"]),
        ],
    ),
    (
        {"exclusiveMinimum": 0, "exclusiveMaximum": 2},
        [1, "x"],
        [(0, ["must be above 0: 0"]), (2, ["must be below 2: 2"])],
    ),
    (
        {"type": "string", "pattern": "^a", "maxLength": 2},
        ["ab"],
        [("bbb", ['must have at most 2 characters: "bbb"', 'must match ^a: "bbb"'])],
    ),
    (
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
        [[1]],
        [
            ([], ["must have at least 1 items: []"]),
            (
                ["x", 2, 3],
                ['must have at most 2 items: ["x",2,3]', '[0]: must be of the type integer, not "x"'],
            ),
        ],
    ),
    ({"prefixItems": [{"type": "string"}], "items": False}, [["a"]], [(["a", 1], ["[1]: does not exist"])]),
    (
        {"minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "boolean"}},
        [{"a": True}],
        [
            ({}, ["must have at least 1 members: {}"]),
            (
                {"a": 1, "b": True, "c": True},
                [
                    'must have at most 2 members: {"a":1,"b":true,"c":true}',
                    "a: must be of the type boolean, not 1",
                ],
            ),
        ],
    ),
    ({"anyOf": [PERSON, {"type": "null"}]}, [None, {"name": "A"}], [({"age": 1}, ["name: is missing"])]),
    (
        {"oneOf": [{"type": "integer"}, {"minimum": 5}]},
        [3, 5.5],
        [(7, ["fits 2 alternatives, and must fit one"])],
    ),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1], [(3, ["must be at most 2: 3"])]),
    (TREE, [{"v": 1, "next": {"v": 1}}], [({"v": 1, "next": {}}, ["next.v: is missing"])]),
    ({"properties": {"up": {"$ref": "#"}}, "required": ["up"]}, [], [({"up": {}}, ["up.up: is missing"])]),
    (
        {
            "properties": {"a": {"type": "string"}},
            "patternProperties": {"^x": {"type": "integer"}, "1$": {"minimum": 3}, "(": False},
            "additionalProperties": False,
        },
        [{"x1": 5, "a": "b", "21": 4}],
        [
            (
                {"x1": 2, "x": "s", "a": 1, "b": 1},
                [
                    "x1: must be at least 3: 2",
                    'x: must be of the type integer, not "s"',
                    "a: must be of the type string, not 1",
                    "b: does not exist",
                ],
            )
        ],
    ),
    (
        {"multipleOf": 0.01},
        [19.99, 0.07, 3, 1e300, -0.29],
        [(19.999, ["must be a multiple of 0.01: 19.999"])],
    ),
    (
        {"not": {"type": "integer"}},
        ["x", 1.5],
        [(1, ["must not be what is excluded: 1"])],
    ),
    (
        {"uniqueItems": True},
        [[1, True, "1", [1], [True]], "xx", [{"a": 1}, {"a": True}]],
        [
            ([1, 2, 1.0], ["must have no item twice: [1,2,1.0]"]),
            ([{"a": [1]}, {"a": [1]}], ['must have no item twice: [{"a":[1]},{"a":[1]}]']),
        ],
    ),
    ({"uniqueItems": False}, [[1, 1]], []),
    (
        {"contains": {"type": "integer"}, "maxContains": 2},
        [["x", 1], [1, 2]],
        [
            (["x"], ['must have at least 1 items that fit "contains", not 0']),
            ([1, 2, 3], ['must have at most 2 items that fit "contains", not 3']),
        ],
    ),
    ({"contains": {"const": 1}, "minContains": 0}, [[], [2]], []),
    (
        {"contains": {"const": 1}, "maxContains": 0},
        [],
        [
            ([], ['must have at least 1 items that fit "contains", not 0']),
            ([1], ['must have at most 0 items that fit "contains", not 1']),
        ],
    ),
    (
        {"propertyNames": {"maxLength": 2}},
        [{"ab": 1}],
        [({"abc": 1}, ['abc: as a key must have at most 2 characters: "abc"'])],
    ),
    (
        {"if": {"properties": {"k": {"const": 1}}}, "then": {"required": ["a"]}, "else": {"required": ["b"]}},
        [{"k": 1, "a": 1}, {"k": 2, "b": 1}],
        [({"k": 1}, ["a: is missing"]), ({"k": 2}, ["b: is missing"])],
    ),
    ({"if": {"const": 1}}, [1, 2], []),
    (
        {"dependentRequired": {"card": ["name"]}, "dependentSchemas": {"card": {"properties": {"n": False}}}},
        [{"card": 1, "name": "x"}, {"n": 1}],
        [({"card": 1, "n": 1}, ["name: is missing", "n: does not exist"])],
    ),
    ({"const": {"a": 1}}, [{"a": 1}, {"a": 1.0}], [({"a": True}, ['must be {"a":1}, not {"a":true}'])]),
    ({"enum": [("a", [1])]}, [["a", [1]]], [(["a", 1], ['must be ["a",[1]], not ["a",1]'])]),
    ({"$ref": "#/nowhere/at/all"}, [1], []),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 1}}}, [1], [(2, ["must be 1, not 2"])]),
    # A limit of one kind says nothing of the others.
    (
        {"minimum": 9, "maximum": 0, "exclusiveMinimum": 9, "exclusiveMaximum": 0, "multipleOf": 2},
        ["5", "x", [5], {"a": 5}, None, True],
        [],
    ),
    ({"minLength": 9, "maxLength": 0, "pattern": "^x"}, [5, ["a"], {"a": 5}, None, True], []),
    ({"minItems": 9, "maxItems": 0, "uniqueItems": True}, [5, "aa", {"a": 5}, None, True], []),
    ({"minProperties": 9, "maxProperties": 0}, [5, "a", ["a"], None, True], []),
    ({"type": "unknown"}, [1], []),
    ({"minimum": "x", "multipleOf": 0, "pattern": "(", "maxLength": None}, [1, "x"], []),
)


@pytest.mark.parametrize("line", TABLE, ids=lambda line: str(line[0])[:50])
def test_a_schema_takes_and_refuses(line: Any) -> None:
    schema, taken, refused = line
    typed = typed_schema("thing", schema)

    assert typed.schema == schema and typed.name == "thing"
    for value in taken:
        assert typed.convert(value) is value
    for value, problems in refused:
        with pytest.raises(Invalid) as caught:
            typed.convert(value)
        assert [str(each) for each in caught.value.problems] == problems
